// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
)

// TestServeRefusesBadFlags: a bad flag of serve gives one sentence, and the server is not
// started.
func TestServeRefusesBadFlags(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	dir := t.TempDir()
	put := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good := put("config.yaml", "apiVersion: config.shoot-proxy.io/v1alpha1\nkind: InjectionConfig\n")
	bad := put("bad.yaml", "apiVersion: config.shoot-proxy.io/v1alpha1\nkind: InjectionConfig\nshot: {}\n")
	cluster := put("kubeconfig", "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nclusters: [{name: a, cluster: {server: \"http://127.0.0.1:1\"}}]\nusers: [{name: a, user: {}}]\n")
	with := func(args ...string) []string {
		return append([]string{"--config", good, "--kubeconfig", cluster}, args...)
	}
	pair := filepath.Dir(put("pair/tls.crt", "no PEM"))
	put("pair/tls.key", "no PEM")
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"an argument", with("now"), "is not a flag, and serve takes nothing else"},
		{"unknown flag", with("--port=1"), "--port is not a flag"},
		{"no config", []string{"--kubeconfig", cluster}, "--config is missing"},
		{"config not there", []string{"--config", filepath.Join(dir, "none"), "--kubeconfig", cluster}, "cannot be read"},
		{"bad config", []string{"--config", bad, "--kubeconfig", cluster}, "shot"},
		{"bad config outside of a pod", []string{"--config", bad}, "did you mean shoot?"},
		{"a folder for a config outside of a pod", []string{"--config", dir}, "it is a directory; name the file in it"},
		{"no cluster", []string{"--config", good}, "--kubeconfig is missing: outside of a pod"},
		{"an empty kubeconfig", []string{"--config", good, "--kubeconfig", ""}, "--kubeconfig is empty"},
		{"kubeconfig not there", []string{"--config", good, "--kubeconfig", "/nowhere"}, `--kubeconfig "/nowhere" cannot be read: there is no such file`},
		{"bad kubeconfig", []string{"--config", good, "--kubeconfig", bad}, `--kubeconfig "` + bad + `" has kind "InjectionConfig", and a kubeconfig has Config`},
		{"broken kubeconfig", []string{"--config", good, "--kubeconfig", put("broken", "a: [")}, `broken" does not parse: `},
		{"kubeconfig of nothing", []string{"--config", good, "--kubeconfig", put("nothing", "apiVersion: v1\nkind: Config\n")}, `nothing" names no cluster: 'kubectl config view`},
		{"kubeconfig with half a context", []string{"--config", good, "--kubeconfig", put("half", "apiVersion: v1\nkind: Config\ncurrent-context: a\n")}, `half" cannot be used (context was not found`},
		{"bad image", with("--proxy-client-image=a b"), `--proxy-client-image "a b"`},
		{"bad listen address", with("--listen-address=9443"), `--listen-address "9443" is not an address`},
		{"port 0", with("--listen-address=:0"), `--listen-address ":0" is not an address`},
		{"bad health address", with("--health-address=9"), `--health-address "9" is not an address`},
		{"bad metrics address", with("--metrics-address=:99999"), `--metrics-address ":99999" is not an address`},
		{"bad delay", with("--shutdown-delay=1"), "--shutdown-delay"},
		{"negative delay", with("--shutdown-delay=-1s"), `--shutdown-delay "-1s" is not between 0s and 5m`},
		{"no certificate", with("--cert-dir", dir), `--cert-dir "` + dir + `" has no certificate that can be used (tls.crt: no such file or directory)`},
		{"no PEM", with("--cert-dir", pair), `has no certificate that can be used (tls.crt is not PEM`},
		{"bad log level", with("--log-level=trace"), `--log-level "trace" is not a log level`},
		{"bad log format", with("--log-format=xml"), `--log-format "xml" is not a log format`},
		{"managed without a service", with("--manage-certificates", "--namespace=a", "--secret-name=b", "--webhook-name=c"), "--service-name is missing"},
		{"managed without a secret", with("--manage-certificates", "--namespace=a", "--service-name=b", "--webhook-name=c"), "--secret-name is missing"},
		{"not managed, with a secret", with("--secret-name=b"), `--secret-name "b" means nothing without --manage-certificates`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := serveCommand("v1", io.Discard, io.Discard)
			cmd.SilenceUsage, cmd.SilenceErrors = true, true
			cmd.SetErr(io.Discard)
			cmd.SetArgs(tt.args)
			err := cmd.ExecuteContext(t.Context())
			err = flagset.FlagError("webhook serve", err) // as the root command does
			if !flagset.IsUsage(err) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want a sentence with %s", err, tt.want)
			}
		})
	}
}

// TestServeAcceptsRequestsAfterSIGTERMByDefault: without a delay the API server would
// send requests to a process that no longer accepts them. By default kube-proxy writes
// changes to the kernel at most once a second.
func TestServeAcceptsRequestsAfterSIGTERMByDefault(t *testing.T) {
	delay, err := serveCommand("v1", io.Discard, io.Discard).Flags().GetDuration("shutdown-delay")
	if err != nil {
		t.Fatal(err)
	}
	if delay <= time.Second {
		t.Errorf("--shutdown-delay is %v by default, which is not longer than kube-proxy's minSyncPeriod of 1s", delay)
	}
}
