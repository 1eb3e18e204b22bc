// SPDX-License-Identifier: Apache-2.0

package options

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
)

// exitConfig returns what the flags of proxy-exit mean, beside those that it requires.
func exitConfig(args ...string) (*ProxyExitConfig, error) {
	flags, o := pflag.NewFlagSet("proxy-exit", pflag.ContinueOnError), NewProxyExit()
	o.AddFlags(flags)
	if err := flags.Parse(append(args, "--tls-cert=server.crt", "--tls-key=server.key", "--client-ca=ca.crt", "--policy=policy.yaml")); err != nil {
		return nil, flagset.FlagError("proxy-exit", err)
	}
	return o.Config()
}

// TestExitLimitsOfOneClient: one client may not have more than all of them. Its default is no
// more than that.
func TestExitLimitsOfOneClient(t *testing.T) {
	inFolderWithFiles(t)
	const more = " is more than all clients together may have, "
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"more streams", `--max-client-streams "5"` + more + `--max-streams 4: lower the one or raise the other`, []string{"--max-streams=4", "--max-client-streams=5"}},
		{"more streams than the default", `--max-client-streams "20000"` + more + `--max-streams 16384: lower the one or raise the other`, []string{"--max-client-streams=20000"}},
		{"a default that is given", `--max-client-streams "8192"` + more + `--max-streams 4: lower the one or raise the other`, []string{"--max-streams=4", "--max-client-streams=8192"}},
		{"more connections", `--max-client-connections "5"` + more + `--max-connections 4: lower the one or raise the other`, []string{"--max-connections=4", "--max-client-connections=5"}},
		{"no stream", `--max-client-streams "0" is not a number of streams: write a whole number from 1 to 1000000`, []string{"--max-client-streams=0"}},
		{"no connections", `--max-client-connections "some" is not a number of connections: write a whole number from 1 to 1000000`, []string{"--max-client-connections=some"}},
	} {
		if _, err := exitConfig(tt.args...); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	type limits struct{ connections, clientConnections, streams, clientStreams int }
	for _, tt := range []struct {
		name string
		args []string
		want limits
	}{
		{"none", nil, limits{1024, 256, 16384, 8192}},
		{"all", []string{"--max-connections=4", "--max-client-connections=3", "--max-streams=2", "--max-client-streams=1"}, limits{4, 3, 2, 1}},
		{"the same", []string{"--max-connections=4", "--max-client-connections=4", "--max-streams=2", "--max-client-streams=2"}, limits{4, 4, 2, 2}},
		{"few for all", []string{"--max-connections=4", "--max-streams=2"}, limits{4, 4, 2, 2}},
		{"many for all", []string{"--max-connections=5000", "--max-streams=100000"}, limits{5000, 256, 100000, 8192}},
	} {
		cfg, err := exitConfig(tt.args...)
		if err != nil {
			t.Fatal(err)
		}
		got := limits{cfg.MaxConnections, cfg.MaxClientConnections, cfg.MaxStreams, cfg.MaxClientStreams}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(limits{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
