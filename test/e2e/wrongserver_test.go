// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// agentsClient issues a client certificate that the agents' port accepts. It returns the
// flags with which the sidecar passes TLS there.
func (r *rig) agentsClient(t *testing.T) []string {
	t.Helper()
	cert, key, err := r.Certs.Agents.Issue("stray", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(key, lab.ProxyUID, lab.ProxyUID); err != nil {
		t.Fatal(err)
	}
	cluster, err := tls.LoadX509KeyPair(r.Certs.ClusterCert, r.Certs.ClusterKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cluster.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"--ca-cert=" + r.Certs.AgentCA, "--client-cert=" + cert, "--client-key=" + key,
		"--server-name=" + leaf.IPAddresses[0].String(),
	}
}

// TestAnotherServerThanMeant: if a server is not the kind that --proxy-server and --mode
// mean, the sidecar says so at once. The sentence says which kind it is. The server is
// not up, and the sidecar is not ready.
func TestAnotherServerThanMeant(t *testing.T) {
	t.Parallel()
	const agents, health = "--proxy-server=10.96.0.1:8091", "--proxy-server=10.96.0.1:8092"
	for _, c := range []struct {
		name   string
		opts   lab.Options
		agents bool // with a certificate for the agents' port
		flags  []string
		says   []string
	}{
		{"the agents' port", lab.Options{}, true, []string{agents}, []string{"agents' port", "8090"}},
		{"the agents' port over http-connect", lab.Options{}, true, []string{agents, "--mode=http-connect"}, []string{"agents' port", "8090"}},
		{"the health port", lab.Options{}, false, []string{health}, []string{"plain HTTP", "8090"}},
		{"http-connect asked of grpc", lab.Options{}, false, []string{"--mode=http-connect"}, []string{"gRPC", "--mode=grpc"}},
		{"grpc asked of http-connect", lab.Options{Mode: lab.HTTPConnect}, false, []string{"--mode=grpc"}, []string{"--mode=http-connect"}},
		{"http-connect asked of grpc on a Unix socket", lab.Options{Transport: lab.Unix}, false, []string{"--mode=http-connect"}, []string{"gRPC", "--mode=grpc"}},
		{"grpc asked of http-connect on a Unix socket", lab.Options{Mode: lab.HTTPConnect, Transport: lab.Unix}, false, nil, []string{"--mode=http-connect"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newBareRig(t, c.opts)
			r.apply(t)
			// A dial that waited for its whole budget would outlast the test.
			flags := append(c.flags, "--dial-timeout=5m")
			if c.agents {
				flags = append(flags, r.agentsClient(t)...)
			}
			var err error
			if r.sidecar, err = r.Pod.Start("proxy-client", r.ProxyClientCommand(flags...)); err != nil {
				t.Fatal(err)
			}
			server := r.Frontend()
			for _, flag := range c.flags {
				if name, other := strings.CutPrefix(flag, "--proxy-server="); other {
					server = name
				}
			}
			eventually(t, "/readyz to name the server and the cause", func(ctx context.Context) error {
				said, err := r.notReady(ctx)
				if err != nil {
					return err
				}
				for _, word := range append(c.says, server) {
					if !strings.Contains(said, word) {
						return fmt.Errorf("/readyz says %q, which does not name %s", said, word)
					}
				}
				return nil
			})
			before := r.metrics(t)
			r.wantReset(t, lab.ShootPod(lab.IPv4, 1), target.HTTPPort, time.Minute)
			r.wantCounted(t, "proxy_client_dial_failures_total", before, "protocol")
			if up := r.metrics(t).Sum("proxy_client_server_up"); up != 0 {
				t.Errorf("server_up is %v, want 0", up)
			}
			said := map[string]int{}
			for _, word := range c.says {
				said[word] = 1
			}
			r.wantLogged(t, said)
		})
	}
}

// notReady returns what /readyz says, unless that is ok.
func (r *rig) notReady(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.SidecarURL("/readyz"), nil)
	if err != nil {
		return "", err
	}
	resp, err := r.Pod.HTTP().Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode == http.StatusOK {
		err = errors.New("it is ready")
	}
	return string(body), err
}

// TestModeIsFoundOutWithoutALPN: a front between sidecar and server may offer no ALPN.
// The sidecar finds out the mode all the same.
func TestModeIsFoundOutWithoutALPN(t *testing.T) {
	t.Parallel()
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			r := newBareRig(t, lab.Options{Mode: mode, Transport: lab.Unix})
			front := r.startFront(t, mode, r.Certs.Frontend)
			front.mu.Lock()
			front.alpn = ""
			front.mu.Unlock()
			r.apply(t)
			r.start(t, "--proxy-server="+front.listener.Addr().String(), "--ca-cert="+r.Certs.FrontendCA,
				"--client-cert="+r.Certs.ClientCert, "--client-key="+r.Certs.ClientKey)
			r.testKinds(t)
		})
	}
}
