// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestBothIptablesBackends: both of the kernel's iptables carry connections. What
// init-redirect added with one of them it also removes.
func TestBothIptablesBackends(t *testing.T) {
	for _, backend := range []string{"nft", "legacy"} {
		t.Run(backend, func(t *testing.T) {
			r := newBareRig(t, lab.Options{})
			flag := "--iptables=" + backend
			r.apply(t, flag)
			r.start(t)
			r.testKinds(t)
			for _, subcommand := range []string{"apply", "verify", "clean"} {
				if _, err := r.InitRedirect(labtest.Context(t, hang), subcommand, flag); err != nil {
					t.Errorf("%s: %v", subcommand, err)
				}
			}
			for _, f := range lab.DualStack.Each() {
				for _, save := range []string{"nft-save", "legacy-save"} {
					path := "iptables-" + save
					if f == lab.IPv6 {
						path = "ip6tables-" + save
					}
					result, err := r.Pod.Run(labtest.Context(t, hang), lab.Command{Path: path})
					if err != nil {
						t.Fatal(err)
					}
					if strings.Contains(result.Stdout, "PROXY_CLIENT") {
						t.Errorf("clean left in %s:\n%s", path, result.Stdout)
					}
				}
			}
		})
	}
}

// TestEgressSelectorConfigurationFile: kube-apiserver's own file is enough configuration,
// with both of its transports.
func TestEgressSelectorConfigurationFile(t *testing.T) {
	for _, opts := range []lab.Options{
		{Mode: lab.HTTPConnect, Transport: lab.TCP}, {Mode: lab.GRPC, Transport: lab.Unix},
	} {
		t.Run(fmt.Sprintf("%s over %s", opts.Mode, opts.Transport), func(t *testing.T) {
			r := newBareRig(t, opts)
			r.apply(t)
			path := filepath.Join(r.Dir, "egress.yaml")
			if err := os.WriteFile(path, []byte(r.egressSelector()), 0o644); err != nil {
				t.Fatal(err)
			}
			command := r.ProxyClientCommand()
			command.Args = append(r.ShootFlags(), "--egress-selector-config-file="+path)
			if _, err := r.StartSidecar(labtest.Context(t, hang), command); err != nil {
				t.Fatal(err)
			}
			r.testKinds(t)
		})
	}
}

func (r *rig) egressSelector() string {
	protocol := map[lab.Mode]string{lab.GRPC: "GRPC", lab.HTTPConnect: "HTTPConnect"}[r.opts.Mode]
	transport := fmt.Sprintf(`      tcp:
        url: https://%s
        tlsConfig:
          caBundle: %s
          clientKey: %s
          clientCert: %s
`, r.Frontend(), r.Certs.FrontendCA, r.Certs.ClientKey, r.Certs.ClientCert)
	if r.opts.Transport == lab.Unix {
		transport = "      uds:\n        udsName: " + strings.TrimPrefix(r.Frontend(), "unix://") + "\n"
	}
	return fmt.Sprintf(`apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: controlplane
  connection:
    proxyProtocol: Direct
- name: cluster
  connection:
    proxyProtocol: %s
    transport:
%s`, protocol, transport)
}

// TestEnvironmentIsConfigurationEnough: a container without arguments can be configured
// by its environment alone.
func TestEnvironmentIsConfigurationEnough(t *testing.T) {
	r := newBareRig(t, lab.Options{})
	environment := func(prefix string, flags []string) (variables []string) {
		for _, flag := range flags {
			name, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
			variables = append(variables, prefix+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+value)
		}
		return variables
	}
	apply := r.InitRedirectCommand("apply")
	apply.Args, apply.Env = nil, environment("INIT_REDIRECT_", r.ShootFlags())
	if _, err := r.Pod.Run(labtest.Context(t, hang), apply); err != nil {
		t.Fatal(err)
	}
	sidecar := r.ProxyClientCommand()
	sidecar.Args, sidecar.Env = nil, environment("PROXY_CLIENT_", sidecar.Args)
	if _, err := r.StartSidecar(labtest.Context(t, hang), sidecar); err != nil {
		t.Fatal(err)
	}
	r.testKinds(t)
}

// TestExcludedAddressesAreLeftAlone: an excluded address keeps its own route, here one
// that leads nowhere. Its neighbours are tunnelled.
func TestExcludedAddressesAreLeftAlone(t *testing.T) {
	r := newBareRig(t, lab.Options{})
	exclude := "--exclude-cidr=" + lab.ShootPod(lab.IPv4, 9).String() + "/32," + lab.ShootPod(lab.IPv6, 9).String() + "/128"
	r.apply(t, exclude)
	r.start(t, exclude)
	r.testKinds(t)
	capture, err := r.CapturePod()
	if err != nil {
		t.Fatal(err)
	}
	defer capture.Close()
	for _, f := range lab.DualStack.Each() {
		excluded := lab.ShootPod(f, 9)
		if err := r.Unreachable(labtest.Context(t, hang), excluded, target.HTTPPort); err != nil {
			t.Errorf("an excluded address went through the tunnel: %v", err)
		}
		if sent := r.captured(t, capture); len(sent) == 0 || sent[0].Dst != excluded {
			t.Errorf("the attempt to reach the excluded %s did not leave the pod; the capture has %v", excluded, sent)
		}
	}
}
