// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// TestBadInputIsRefusedInOneSentence: input that cannot be right is refused with exit
// code 2 and one sentence. The sentence names the flag and the value. Nothing has changed
// afterwards.
func TestBadInputIsRefusedInOneSentence(t *testing.T) {
	r := newBareRig(t, lab.Options{})
	noCluster := filepath.Join(r.Dir, "no-cluster.yaml")
	if err := os.WriteFile(noCluster, []byte("apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections:\n- name: etcd\n  connection: {proxyProtocol: Direct}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	pods, server := "--shoot-pod-cidr=100.64.0.0/16", "--proxy-server=10.96.0.1:8090"
	ca := "--ca-cert=" + r.Certs.FrontendCA
	mtls := []string{pods, server, ca}
	const both, redirect, sidecar = "init-redirect proxy-client", "init-redirect", "proxy-client"
	for _, c := range []struct {
		name     string
		programs string
		args     []string
		says     []string
	}{
		{"no shoot CIDR", both, []string{}, []string{"--shoot-pod-cidr"}},
		{"host bits", both, []string{"--shoot-pod-cidr=100.64.0.1/16"}, []string{"--shoot-pod-cidr", "100.64.0.1/16"}},
		{"not a CIDR", both, []string{"--shoot-node-cidr=nodes"}, []string{"--shoot-node-cidr", "nodes"}},
		{"the Internet", both, []string{"--shoot-pod-cidr=0.0.0.0/0"}, []string{"--shoot-pod-cidr", "0.0.0.0/0"}},
		{"the Internet in halves", both, []string{"--shoot-pod-cidr=0.0.0.0/1", "--shoot-node-cidr=128.0.0.0/1"}, []string{"cidr", "0.0.0.0"}},
		{"IPv6 default", both, []string{"--shoot-pod-cidr=::/0"}, []string{"--shoot-pod-cidr", "::/0"}},
		{"loopback", both, []string{"--shoot-service-cidr=127.0.0.0/8"}, []string{"--shoot-service-cidr", "127.0.0.0/8"}},
		{"link-local", both, []string{"--shoot-service-cidr=169.254.0.0/16"}, []string{"--shoot-service-cidr", "169.254.0.0/16"}},
		{"link-local IPv6", both, []string{"--shoot-service-cidr=fe80::/64"}, []string{"--shoot-service-cidr", "fe80::/64"}},
		{"multicast", both, []string{"--shoot-service-cidr=224.0.0.0/8"}, []string{"--shoot-service-cidr", "224.0.0.0/8"}},
		{"exclusion of everything", both, []string{pods, "--exclude-cidr=100.64.0.0/10"}, []string{"--exclude-cidr", "100.64.0.0/10"}},
		{"unknown flag", both, []string{pods, "--frobnicate"}, []string{"--frobnicate"}},
		{"log format", both, []string{pods, "--log-format=xml"}, []string{"--log-format", "xml"}},

		{"the pod's own address", redirect, []string{"--shoot-pod-cidr=10.96.0.0/16"}, []string{"--shoot-pod-cidr", "10.96.0.0/16", "10.96.0.10"}},
		{"port 0", redirect, []string{pods, "--proxy-port=0"}, []string{"--proxy-port", "0"}},
		{"port 70000", redirect, []string{pods, "--proxy-port=70000"}, []string{"--proxy-port", "70000"}},
		{"proxy uid 0", redirect, []string{pods, "--proxy-uid=0"}, []string{"--proxy-uid", "0"}},
		{"iptables backend", redirect, []string{pods, "--iptables=ebtables"}, []string{"--iptables", "ebtables"}},

		{"no server", sidecar, []string{pods}, []string{"--proxy-server"}},
		{"server in the shoot", sidecar, []string{pods, ca, "--proxy-server=100.64.3.4:8090"}, []string{"--proxy-server", "100.64.3.4"}},
		{"server without a port", sidecar, []string{pods, ca, "--proxy-server=10.96.0.1"}, []string{"--proxy-server", "10.96.0.1"}},
		{"no CA", sidecar, []string{pods, server}, []string{"--ca-cert"}},
		{"mode", sidecar, append(mtls, "--mode=ftp"), []string{"--mode", "ftp"}},
		{"listen address", sidecar, append(mtls, "--listen-address=0.0.0.0:14001"), []string{"--listen-address", "0.0.0.0:14001"}},
		{"certificate without key", sidecar, append(mtls, "--client-cert="+r.Certs.ClientCert), []string{"--client-cert", "--client-key"}},
		{"key that cannot be read", sidecar, append(mtls, "--client-cert="+r.Certs.AgentCert, "--client-key="+r.Certs.AgentKey), []string{"--client-key", r.Certs.AgentKey}},
		{"expired certificate", sidecar, append(mtls, "--client-cert="+r.Certs.ExpiredCert, "--client-key="+r.Certs.ExpiredKey), []string{"--client-cert", r.Certs.ExpiredCert}},
		{"key of another certificate", sidecar, append(mtls, "--client-cert="+r.Certs.ClientCert, "--client-key="+r.Certs.ExpiredKey), []string{"--client-key", r.Certs.ExpiredKey}},
		{"egress selector without cluster", sidecar, []string{pods, "--egress-selector-config-file=" + noCluster}, []string{"--egress-selector-config-file", noCluster, "cluster"}},
	} {
		for _, program := range strings.Fields(c.programs) {
			t.Run(program+" "+c.name, func(t *testing.T) {
				command := r.InitRedirectCommand("apply")
				command.Args = append([]string{"apply"}, c.args...)
				if program == sidecar {
					command = r.ProxyClientCommand()
					command.Args = c.args
				}
				result, err := r.Pod.Run(labtest.Context(t, hang), command)
				if result.Code != 2 {
					t.Errorf("%s: exit code %d (%v), want 2", command, result.Code, err)
				}
				said := strings.TrimRight(result.Stderr, "\n")
				if said == "" || strings.Contains(said, "\n") || result.Stdout != "" {
					t.Errorf("%s: wants one sentence on standard error, got %q, and %q on standard output", command, said, result.Stdout)
				}
				for _, word := range c.says {
					if !strings.Contains(said, word) {
						t.Errorf("%s: does not name %s: %q", command, word, said)
					}
				}
			})
		}
	}
	for _, f := range lab.DualStack.Each() {
		if rules := r.rules(t, f); strings.Contains(rules, "PROXY_CLIENT") {
			t.Errorf("%s: refused input left rules behind:\n%s", f, rules)
		}
	}
}

// TestMissingPermissionsAndPrograms: what the kernel or the permissions do not allow is
// exit code 3. The message says what to do.
func TestMissingPermissionsAndPrograms(t *testing.T) {
	r := newBareRig(t, lab.Options{})
	apply := r.InitRedirectCommand("apply")
	for _, c := range []struct {
		name    string
		command lab.Command
		says    string
	}{
		{
			"without NET_ADMIN",
			lab.Command{Path: "capsh", Args: append([]string{"--drop=cap_net_admin", "--", "-c", `exec "$0" "$@"`, apply.Path}, apply.Args...)},
			"NET_ADMIN",
		},
		{"without iptables", lab.Command{Path: apply.Path, Args: apply.Args, Env: []string{"PATH=/nonexistent"}}, "iptables"},
	} {
		t.Run(c.name, func(t *testing.T) {
			result, err := r.Pod.Run(labtest.Context(t, hang), c.command)
			if result.Code != 3 {
				t.Errorf("exit code %d (%v), want 3", result.Code, err)
			}
			if !strings.Contains(result.Stderr, c.says) {
				t.Errorf("does not name %s: %q", c.says, result.Stderr)
			}
		})
	}
	for _, f := range lab.DualStack.Each() {
		if rules := r.rules(t, f); strings.Contains(rules, "PROXY_CLIENT") {
			t.Errorf("%s: a failed apply left rules behind:\n%s", f, rules)
		}
	}
}
