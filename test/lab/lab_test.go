// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestLabTunnelsOnlyThroughTheServer: without the product the shoot cannot be reached. A
// client that speaks the server's own protocol reaches every kind of address through the
// upstream server and agent.
func TestLabTunnelsOnlyThroughTheServer(t *testing.T) {
	l, _ := labtest.New(t, lab.Options{Mode: lab.HTTPConnect})
	ctx := labtest.Context(t, time.Minute)
	for _, f := range lab.DualStack.Each() {
		for what, addr := range map[string]netip.Addr{
			"pod": lab.ShootPod(f, lab.PodAddresses), "service": lab.ShootService(f), "node": lab.ShootNode(f),
		} {
			t.Run(fmt.Sprint(f, " ", what), func(t *testing.T) {
				hostPort := net.JoinHostPort(addr.String(), fmt.Sprint(target.HTTPPort))
				if err := l.Unreachable(ctx, addr, target.HTTPPort); err != nil {
					t.Fatalf("the lab proves nothing: %v", err)
				}
				if got, want := connect(ctx, t, l, hostPort), "hello from the shoot; you called "+hostPort+"\n"; got != want {
					t.Errorf("through the upstream server: %s", cmp.Diff(want, got))
				}
			})
		}
	}
}

// connect is the smallest client of an http-connect server: one GET.
func connect(ctx context.Context, t *testing.T, l *lab.Lab, hostPort string) string {
	t.Helper()
	raw, err := l.Pod.DialContext(ctx, "tcp", l.Frontend())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	pair, err := tls.LoadX509KeyPair(l.Certs.ClientCert, l.Certs.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(l.Certs.FrontendCA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	conn := tls.Client(raw, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, ServerName: lab.ServerName})
	reader := bufio.NewReader(conn)
	for _, step := range []struct{ method, url, host string }{
		{http.MethodConnect, "//" + hostPort, hostPort},
		{http.MethodGet, "http://" + hostPort + "/", hostPort},
	} {
		req, err := http.NewRequestWithContext(ctx, step.method, step.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := req.Write(conn); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(reader, req)
		if err != nil {
			t.Fatalf("%s %s: %v", step.method, hostPort, err)
		}
		if step.method == http.MethodConnect {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	return ""
}

func TestLabComesUpInEachShape(t *testing.T) {
	for _, opts := range []lab.Options{
		{Mode: lab.GRPC},
		{Mode: lab.GRPC, Transport: lab.Unix},
		{Mode: lab.HTTPConnect, PodFamilies: lab.IPv6},
		{Mode: lab.GRPC, PodFamilies: lab.IPv4, DisableIPv6: true},
	} {
		t.Run(fmt.Sprintf("%s %s %s", opts.Mode, opts.Transport, opts.PodFamilies), func(t *testing.T) {
			l, _ := labtest.New(t, opts)
			out, err := l.Pod.Run(labtest.Context(t, time.Minute), lab.Command{Path: "id", Args: []string{"-u"}, UID: lab.AppUID})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(out.Stdout); got != fmt.Sprint(lab.AppUID) {
				t.Errorf("an app runs as uid %s, want %d", got, lab.AppUID)
			}
		})
	}
}

// TestCloseLeavesNothing: a lab removes everything, also what its processes have started.
func TestCloseLeavesNothing(t *testing.T) {
	labtest.RequireRoot(t)
	ctx := labtest.Context(t, time.Minute)
	l, err := lab.New(ctx, lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Pod.Start("stubborn", lab.Command{Path: "sh", Args: []string{"-c", "trap '' TERM; sleep 1000 & sleep 1000; sleep 1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	select {
	case <-p.Exited():
	default:
		t.Errorf("pid %d outlived its lab", p.PID())
	}
	if left := lab.Leftovers(); len(left) != 0 {
		t.Errorf("left on the machine: %q", left)
	}
}
