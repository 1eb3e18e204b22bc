// SPDX-License-Identifier: Apache-2.0

package options

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
)

// The programs that parse runs.
const (
	theProxy = "proxy-client"
	theInit  = "init-redirect"
	theDump  = "init-redirect dump"
)

// parse handles a command line and an environment as a program does. It returns the
// configuration, or the error that the program would print.
func parse(program string, args []string, environment map[string]string) (any, error) {
	fs := pflag.NewFlagSet(program, pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	var config func() (any, error)
	prefix := InitRedirectPrefix
	switch program {
	case theProxy:
		o := &ProxyClient{}
		o.AddFlags(fs)
		prefix = ProxyClientPrefix
		config = func() (any, error) { return o.Config() }
	case theInit:
		o := &InitRedirect{}
		o.AddFlags(fs)
		config = func() (any, error) { return o.Config() }
	case theDump:
		o := &InitRedirect{}
		o.AddFlags(fs)
		o.AddDumpFlags(fs)
		config = func() (any, error) { return o.ConfigWithoutCIDRs() }
	}
	if err := fs.Parse(args); err != nil {
		return nil, flagset.FlagError(program, err)
	}
	lookup := func(name string) (string, bool) { v, ok := environment[name]; return v, ok }
	if err := flagset.ApplyEnvironment(fs, prefix, lookup); err != nil {
		return nil, err
	}
	cfg, err := config()
	return cfg, flagset.NameVariable(fs, err)
}

// badCase is one mistake. The golden file has the sentence that refuses it, for people to
// review.
type badCase struct {
	name        string
	program     string
	args        []string
	environment map[string]string
}

// Complete command lines, to which a case adds its mistake.
const (
	pods   = "--shoot-pod-cidr=100.64.0.0/12"
	both   = "--shoot-pod-cidr=100.64.0.0/12,fd00:10::/48"
	socket = "--proxy-server=unix:///run/server.sock"
	tcp    = "--proxy-server=proxy-server:8090"
	ca     = "--ca-cert=ca.crt"
)

func proxy(name string, args ...string) badCase {
	return badCase{name: name, program: theProxy, args: args}
}

func initial(name string, args ...string) badCase {
	return badCase{name: name, program: theInit, args: args}
}

func badCases() []badCase {
	cases := append(badCIDRs(), badServers()...)
	cases = append(cases, badCertificates()...)
	cases = append(cases, badEgressSelectors()...)
	cases = append(cases, badExits()...)
	return append(cases, badNumbers()...)
}

func badCIDRs() []badCase {
	return []badCase{
		proxy("no shoot CIDR", socket),
		initial("no shoot CIDR"),
		initial("only an exclusion", "--exclude-cidr=10.0.0.0/8"),
		proxy("host bits", socket, "--shoot-node-cidr=10.250.0.1/16"),
		initial("host bits in an exclusion", pods, "--exclude-cidr=100.64.0.1/16"),
		initial("host bits in what is too short", "--shoot-pod-cidr=10.0.0.0/4"),
		initial("not a CIDR", "--shoot-service-cidr=services"),
		initial("an address", "--shoot-service-cidr=100.104.0.1"),
		initial("a stray comma", "--shoot-pod-cidr=100.64.0.0/12,"),
		initial("an empty list", "--shoot-pod-cidr="),
		initial("default route", "--shoot-pod-cidr=0.0.0.0/0"),
		initial("default route of IPv6", "--shoot-pod-cidr=::/0"),
		initial("default route in two halves", "--shoot-pod-cidr=0.0.0.0/1,128.0.0.0/1"),
		initial("default route in two halves of two flags", "--shoot-pod-cidr=0.0.0.0/1", "--shoot-node-cidr=128.0.0.0/1"),
		initial("loopback", "--shoot-pod-cidr=127.0.0.0/8"),
		initial("loopback of IPv6", "--shoot-pod-cidr=::1/128"),
		initial("link-local", "--shoot-node-cidr=169.254.0.0/16"),
		initial("link-local of IPv6", "--shoot-node-cidr=fe80::/64"),
		initial("multicast", "--shoot-node-cidr=224.0.0.0/8"),
		initial("multicast of IPv6", "--shoot-node-cidr=ff02::/16"),
		initial("IPv4 as IPv6", "--shoot-pod-cidr=::ffff:100.64.0.0/108"),
		proxy("an exclusion swallows everything", socket, pods, "--exclude-cidr=100.64.0.0/10"),
		proxy("exclusions swallow everything", socket, both, "--exclude-cidr=100.64.0.0/13,100.72.0.0/13", "--exclude-cidr=fd00::/16"),
		{name: "a bad exclusion without CIDRs", program: theDump, args: []string{"--exclude-cidr=x"}},
		{name: "bad CIDRs of a dump", program: theDump, args: []string{"--shoot-pod-cidr=0.0.0.0/0"}},
	}
}

func badServers() []badCase {
	return []badCase{
		proxy("no server", pods),
		proxy("an empty server", pods, ca, "--proxy-server="),
		proxy("a stray comma in servers", pods, ca, "--proxy-server=a:1,,b:1"),
		proxy("--mode ftp", pods, tcp, ca, "--mode=ftp"),
		proxy("--mode of another case", pods, tcp, ca, "--mode=GRPC"),
		proxy("an empty mode", pods, tcp, ca, "--mode="),
		proxy("a server without port", pods, ca, "--proxy-server=proxy-server"),
		proxy("a server without host", pods, ca, "--proxy-server=:8090"),
		proxy("a server with port 0", pods, ca, "--proxy-server=proxy-server:0"),
		proxy("a server with port 70000", pods, ca, "--proxy-server=proxy-server:70000"),
		proxy("a server with a negative port", pods, ca, "--proxy-server=proxy-server:-1"),
		proxy("a server with a named port", pods, ca, "--proxy-server=proxy-server:https"),
		proxy("a server with an empty port", pods, ca, "--proxy-server=proxy-server:"),
		proxy("a URL", pods, ca, "--proxy-server=https://proxy-server:8090"),
		proxy("a path", pods, "--proxy-server=/run/server.sock"),
		proxy("a path that is a folder", pods, "--proxy-server=/run/"),
		proxy("IPv6 without brackets", pods, ca, "--proxy-server=fd00::1:8090"),
		proxy("IPv6 with zone and without brackets", pods, ca, "--proxy-server=2001:db8:1:2:3:4:5:6:8090"),
		proxy("IPv6 without port", pods, ca, "--proxy-server=[fd00::1]"),
		proxy("brackets around a name", pods, ca, "--proxy-server=[proxy-server]:8090"),
		proxy("a mistyped address", pods, ca, "--proxy-server=10.0.0.256:8090"),
		proxy("a host with a space", pods, ca, "--proxy-server=proxy server:8090"),
		proxy("an unspecified host", pods, ca, "--proxy-server=0.0.0.0:8090"),
		proxy("a relative Unix socket", pods, "--proxy-server=unix://run/server.sock"),
		proxy("a Unix socket without slashes", pods, "--proxy-server=unix:run/server.sock"),
		proxy("a folder for a Unix socket", pods, "--proxy-server=unix:///run/"),
		proxy("the root for a Unix socket", pods, "--proxy-server=unix:///"),
		proxy("a long Unix socket", pods, "--proxy-server=unix:///run/"+strings.Repeat("x", 103)),
		proxy("the same server twice", pods, ca, "--proxy-server=proxy-server:8090,Proxy-Server:8090"),
		proxy("the same IPv6 server twice", pods, ca, "--proxy-server=[fd00::1]:8090,[fd00:0::1]:8090"),
		proxy("the same Unix socket twice", pods, "--proxy-server=unix:///run/s,unix:///run/./s"),
		proxy("a server inside of the shoot", pods, ca, "--proxy-server=100.64.3.4:8090"),
		proxy("an IPv6 server inside of the shoot", both, ca, "--proxy-server=[fd00:10::4]:8090"),
		proxy("IPv4 as IPv6 inside of the shoot", pods, ca, "--proxy-server=[::ffff:100.64.3.4]:8090"),
		proxy("a server that is all of the shoot", "--shoot-pod-cidr=100.64.3.4/32", ca, "--proxy-server=100.64.3.4:8090"),
		proxy("our own listener as server", pods, ca, "--proxy-server=127.0.0.1:14001"),
		proxy("listening on all addresses", pods, socket, "--listen-address=0.0.0.0:14001"),
		proxy("listening on all addresses, without host", pods, socket, "--listen-address=:14001"),
		proxy("listening on the pod's address", pods, socket, "--listen-address=10.1.2.3:14001"),
		proxy("listening on a name", pods, socket, "--listen-address=localhost:14001"),
		proxy("listening on port 0", pods, socket, "--listen-address=127.0.0.1:0"),
		proxy("listening on port 70000", pods, socket, "--listen-address=127.0.0.1:70000"),
		proxy("listening without port", pods, socket, "--listen-address=127.0.0.1"),
		proxy("listening on IPv6 without port", pods, socket, "--listen-address=::1"),
		proxy("listening on IPv4 as IPv6", pods, socket, "--listen-address=[::ffff:127.0.0.1]:14001"),
		proxy("listening on the pod's IPv4 as IPv6", pods, socket, "--listen-address=[::ffff:10.1.2.3]:14001"),
		proxy("listening twice", pods, socket, "--listen-address=127.0.0.1:14001,127.0.0.1:14001"),
		proxy("listening without IPv6", both, socket, "--listen-address=127.0.0.1:15501"),
		proxy("listening without IPv4", both, socket, "--listen-address=[::1]:15501"),
		proxy("a stray comma in listeners", pods, socket, "--listen-address=127.0.0.1:14001,"),
		proxy("health on the listener's port", pods, socket, "--health-address=:14001"),
		proxy("health on the listener's address", pods, socket, "--health-address=127.0.0.1:14001"),
		proxy("health on port 0", pods, socket, "--health-address=:0"),
		proxy("health on port 70000", pods, socket, "--health-address=0.0.0.0:70000"),
		proxy("health without port", pods, socket, "--health-address=127.0.0.1"),
		proxy("health nowhere", pods, socket, "--health-address="),
		proxy("the status page for the whole network", pods, socket, "--admin-address=0.0.0.0:14000"),
		proxy("the status page on every address", pods, socket, "--admin-address=:14000"),
		proxy("the status page on a name", pods, socket, "--admin-address=localhost:14000"),
		proxy("the status page on the pod's address", pods, socket, "--admin-address=10.1.2.3:14000"),
		proxy("the status page on a mapped address", pods, socket, "--admin-address=[::ffff:127.0.0.1]:14000"),
		proxy("the status page on loopback of a device", pods, socket, "--admin-address=[::1%lo]:14000"),
		proxy("the status page without port", pods, socket, "--admin-address=127.0.0.1"),
		proxy("the status page on port 0", pods, socket, "--admin-address=127.0.0.1:0"),
		proxy("the status page on the listener's address", pods, socket, "--admin-address=127.0.0.1:14001"),
		proxy("the status page on health's port", pods, socket, "--admin-address=127.0.0.1:14021"),
		proxy("health on the status page's port", pods, socket, "--health-address=0.0.0.0:14000"),
		proxy("health on the status page's address", pods, socket, "--health-address=127.0.0.1:14000"),
		proxy("the listener on the status page's address", pods, socket, "--listen-address=127.0.0.1:14000"),
		proxy("health on no host", pods, socket, "--health-address=a_b..c:14021"),
	}
}

func badCertificates() []badCase {
	client := func(cert, key string) []string {
		return []string{pods, tcp, ca, "--client-cert=" + cert, "--client-key=" + key}
	}
	return []badCase{
		proxy("TCP without CA", pods, tcp),
		proxy("a certificate without key", pods, tcp, ca, "--client-cert=client.crt"),
		proxy("a key without certificate", pods, tcp, ca, "--client-key=client.key"),
		proxy("an unreadable CA", pods, tcp, "--ca-cert=gone.crt"),
		proxy("a CA that is a folder", pods, tcp, "--ca-cert=folder"),
		proxy("an empty CA", pods, tcp, "--ca-cert=empty"),
		proxy("a huge CA", pods, tcp, "--ca-cert=huge"),
		proxy("a CA that is not PEM", pods, tcp, "--ca-cert=notes.txt"),
		proxy("a CA that is a key", pods, tcp, "--ca-cert=client.key"),
		proxy("a broken CA", pods, tcp, "--ca-cert=broken.crt"),
		proxy("an expired CA", pods, tcp, "--ca-cert=old-ca.crt"),
		proxy("an unreadable certificate", client("gone.crt", "client.key")...),
		proxy("an unreadable key", client("client.crt", "gone.key")...),
		proxy("a certificate that is not PEM", client("notes.txt", "client.key")...),
		proxy("a key that is not PEM", client("client.crt", "notes.txt")...),
		proxy("certificate and key swapped", client("client.key", "client.crt")...),
		proxy("a key that is a certificate", client("client.crt", "client.crt")...),
		proxy("an expired certificate", client("expired.crt", "expired.key")...),
		proxy("a certificate of the future", client("future.crt", "future.key")...),
		proxy("a certificate that does not match its key", client("client.crt", "other.key")...),
		proxy("an encrypted key", client("client.crt", "encrypted.key")...),
		proxy("an encrypted key of old", client("client.crt", "old-cipher.key")...),
		proxy("a broken key", client("client.crt", "broken.key")...),
		proxy("a server's certificate", client("server.crt", "server.key")...),
		proxy("a bad certificate that only Unix sockets would not need", pods, socket, "--ca-cert=gone.crt"),
		proxy("a bad server name", pods, tcp, ca, "--server-name=https://proxy-server"),
		proxy("an empty ALPN protocol", pods, tcp, ca, "--alpn-proto=istio,"),
		proxy("an ALPN protocol twice", pods, tcp, ca, "--alpn-proto=istio,istio"),
		proxy("a long ALPN protocol", pods, tcp, ca, "--alpn-proto="+strings.Repeat("x", 256)),
	}
}

func badEgressSelectors() []badCase {
	file := func(name, path string, more ...string) badCase {
		return proxy("egress selector: "+name, append([]string{pods, "--egress-selector-config-file=" + path}, more...)...)
	}
	return []badCase{
		file("without cluster", "no-cluster.yaml"),
		file("without any selection", "no-selection.yaml"),
		file("cluster twice", "twice.yaml"),
		file("unreadable", "gone.yaml"),
		file("a folder", "folder"),
		file("empty", "empty"),
		file("only a comment", "only-a-comment.yaml"),
		file("not YAML", "syntax.yaml"),
		file("PEM", "ca.crt"),
		file("unknown field", "unknown-field.yaml"),
		file("unknown field in JSON", "unknown-field.json"),
		file("field in wrong case", "wrong-case.yaml"),
		file("field twice", "duplicate-key.yaml"),
		file("wrong type", "wrong-type.yaml"),
		file("wrong version", "version.yaml"),
		file("wrong group", "group.yaml"),
		file("wrong kind", "kind.yaml"),
		file("two documents", "two-documents.yaml"),
		file("Direct", "direct.yaml"),
		file("unknown protocol", "protocol.yaml"),
		file("no transport", "no-transport.yaml"),
		file("an empty transport", "no-leg.yaml"),
		file("two transports", "two-legs.yaml"),
		file("GRPC over TCP", "grpc-tcp.yaml"),
		file("relative Unix socket", "relative-uds.yaml"),
		file("empty Unix socket", "empty-uds.yaml"),
		file("a folder for a Unix socket", "folder-uds.yaml"),
		file("plaintext", "http.yaml"),
		file("no scheme", "no-scheme.yaml"),
		file("a path in the URL", "path.yaml"),
		file("no port in the URL", "no-port.yaml"),
		file("no tlsConfig", "no-tls.yaml"),
		file("no caBundle", "no-ca.yaml"),
		file("no clientKey", "no-key.yaml"),
		file("no clientCert", "no-cert.yaml"),
		file("bad tlsServerName", "bad-name.yaml"),
		file("tlsServerName and --server-name", "name.yaml", "--server-name=other"),
		file("unreadable caBundle", "missing-ca.yaml"),
		file("server inside of the shoot", "in-shoot.yaml"),
		file("with --proxy-server", "grpc-uds.yaml", socket),
		file("with --mode", "grpc-uds.yaml", "--mode=grpc"),
		file("with --ca-cert", "grpc-uds.yaml", ca),
		file("with --client-cert", "grpc-uds.yaml", "--client-cert=client.crt"),
		file("with --client-key", "grpc-uds.yaml", "--client-key=client.key"),
	}
}

func badExits() []badCase {
	const one, bundle, cert, key = "--exit=10.250.0.10:9443", "--exit-ca-cert=ca.crt", "--exit-client-cert=client.crt", "--exit-client-key=client.key"
	with := func(name string, args ...string) badCase {
		return proxy(name, append([]string{socket, pods}, args...)...)
	}
	many := "--exit=e1:1"
	for n := 2; n <= maxExits+1; n++ {
		many += fmt.Sprintf(",e%d:1", n)
	}
	return []badCase{
		with("an exit without a CA", one, cert, key),
		with("an exit without a client certificate", one, bundle),
		with("an exit with a certificate without key", one, bundle, cert),
		with("an exit with a key without certificate", one, bundle, key),
		with("an exit with another's key", one, bundle, cert, "--exit-client-key=other.key"),
		with("an exit with an expired CA", one, "--exit-ca-cert=old-ca.crt", cert, key),
		with("an exit with a server's certificate", one, bundle, "--exit-client-cert=server.crt", "--exit-client-key=server.key"),
		with("an exit with a CA that is not there", one, "--exit-ca-cert=missing.crt", cert, key),
		with("an exit with a bad name", one, bundle, cert, key, "--exit-server-name=a b"),
		with("an exit with a name and a port", one, bundle, cert, key, "--exit-server-name=exit.example:9443"),
		with("an empty policy", one, bundle, cert, key, "--exit-policy="),
		with("a bad policy", one, bundle, cert, key, "--exit-policy=always"),
		with("a bad policy without an exit", "--exit-policy=Prefer"),
		with("a policy without an exit", "--exit-policy=require"),
		with("a CA without an exit", bundle),
		with("a client certificate without an exit", cert, key),
		with("an exit without port", "--exit=exit.example", bundle, cert, key),
		with("an exit without host", "--exit=:9443", bundle, cert, key),
		with("an exit that is a URL", "--exit=https://exit.example:9443", bundle, cert, key),
		with("an exit with a bad host", "--exit=exit_:9443,-exit:1", bundle, cert, key),
		with("an exit on every address", "--exit=0.0.0.0:9443", bundle, cert, key),
		with("an exit twice", "--exit=[::ffff:10.250.0.10]:9443,10.250.0.10:9443", bundle, cert, key),
		with("a stray comma in exits", "--exit=a:1,,b:1", bundle, cert, key),
		with("too many exits", many, bundle, cert, key),
	}
}

var rewrite = flag.Bool("update", false, "rewrite the golden files")

// The golden file has every mistake with its sentence. Review the wording in
// testdata/sentences.golden, rewrite it with `go test ./internal/options -update`.
func TestBadInputIsRefusedInOneSentenceThatNamesFlagAndValue(t *testing.T) {
	golden, err := filepath.Abs("testdata/sentences.golden")
	if err != nil {
		t.Fatal(err)
	}
	inFolderWithFiles(t)
	var got strings.Builder
	got.WriteString("# What each mistake is answered with: `go test ./internal/options -update` rewrites this file.\n")
	for _, tt := range badCases() {
		cfg, err := parse(tt.program, tt.args, tt.environment)
		if err == nil {
			t.Errorf("%s (%s %q): was accepted as %+v", tt.name, tt.program, tt.args, cfg)
			continue
		}
		checkUsage(t, tt, err)
		fmt.Fprintf(&got, "\n# %s\n", tt.name)
		for name, value := range tt.environment {
			fmt.Fprintf(&got, "%s=%s ", name, value)
		}
		fmt.Fprintf(&got, "%s\n  %s\n", strings.Join(append([]string{tt.program}, tt.args...), " "), err)
	}
	if *rewrite {
		writeGolden(t, golden, got.String())
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the sentences changed; review them and rewrite with -update (-want +got):\n%s", diff)
	}
}

func writeGolden(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkUsage checks that an error is a refusal in one sentence.
func checkUsage(t *testing.T, tt badCase, err error) {
	t.Helper()
	if !flagset.IsUsage(err) {
		t.Errorf("%s: the exit code would not be 2: %#v", tt.name, err)
	}
	if strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("%s: the refusal has more than one line: %q", tt.name, err)
	}
	for _, secret := range []string{"PRIVATE KEY-----\nM", "secret"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the sentence shows what is in a key file: %s", tt.name, err)
		}
	}
	if !strings.HasPrefix(err.Error(), "-") && len(tt.environment) == 0 {
		t.Errorf("%s: the sentence does not begin with the flag: %s", tt.name, err)
	}
}
