// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// slack is how long a slow machine may exceed a dial's budget before a test fails.
const slack = 10 * time.Second

// TestFailedDialEndsInAResetWithinTheBudget: a dial that fails ends in a reset within the
// budget, under its own reason.
func TestFailedDialEndsInAResetWithinTheBudget(t *testing.T) {
	t.Parallel()
	const budget = 2 * time.Second
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Options{Mode: mode}, "--dial-timeout="+budget.String())
			f := lab.IPv4
			unassigned := netip.MustParseAddr("100.64.77.77")
			for _, c := range []struct {
				name   string
				before func()
				addr   netip.Addr
				reason string
			}{
				{"a target that never answers", nil, lab.BlackHole(f), "timeout"},
				{"a target that the shoot has no route to", nil, unassigned, "unreachable"},
				{"no agent", r.Agent.Kill, lab.ShootPod(f, 1), "no_agent"},
				{"no server", r.Server.Kill, lab.ShootPod(f, 1), "server_unreachable"},
			} {
				t.Run(c.name, func(t *testing.T) {
					if c.before != nil {
						c.before()
					}
					before := r.metrics(t)
					r.wantReset(t, c.addr, target.HTTPPort, budget+slack)
					r.wantCounted(t, "proxy_client_dial_failures_total", before, c.reason)
				})
			}
		})
	}
}

// transfer is a connection on which bytes move until the target's Release.
type transfer struct {
	conn io.ReadCloser
	got  *target.PatternWriter
}

// startRaw begins a download that ends with its connection. A reset and a clean end
// differ only in the error.
func (r *rig) startRaw(t *testing.T, addr netip.Addr) *transfer {
	t.Helper()
	conn, err := r.dial(labtest.Context(t, time.Minute), addr, target.HTTPPort)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, "GET /until-released HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	header := make([]byte, 0, 512)
	for !strings.HasSuffix(string(header), "\r\n\r\n") {
		var b [1]byte
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			t.Fatalf("read the answer's header: %v", err)
		}
		header = append(header, b[0])
	}
	x := &transfer{conn: conn, got: target.NewPatternWriter()}
	if _, err := io.CopyN(x.got, conn, 100<<10); err != nil {
		t.Fatal(err)
	}
	return x
}

// finish reads to the end and returns why it ended; nil is a clean end.
func (x *transfer) finish() error {
	_, err := io.Copy(x.got, x.conn)
	return err
}

// TestBrokenLegToTheServerEndsInAReset: if the connection to the server breaks during a
// transfer, the app sees a reset. It never sees what looks like a complete answer.
func TestBrokenLegToTheServerEndsInAReset(t *testing.T) {
	t.Parallel()
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, v.opts, v.flags...)
			for _, f := range lab.DualStack.Each() {
				r.idle(t)
				before := r.metrics(t)
				x := r.startRaw(t, lab.ShootPod(f, 1))
				r.Server.Kill()
				if err := x.finish(); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s: the server died and the download ended with error %v, want a reset", f, err)
				}
				r.wantCounted(t, "proxy_client_close_total", before, "tunnel_broken")
				ctx := labtest.Context(t, time.Minute)
				if err := r.StartServer(ctx); err != nil {
					t.Fatal(err)
				}
				if err := r.WaitTunnel(ctx); err != nil {
					t.Fatal(err)
				}
				eventually(t, "connections to work again with the server", func(ctx context.Context) error {
					_, err := r.app(ctx, nil, nil, "curl", "-sS", lab.URL(lab.ShootPod(f, 1), target.HTTPPort, "/"))
					return err
				})
			}
		})
	}
}

// TestUnsupportedHalfCloseEndsInAReset: the server's protocol cannot serve a target that
// answers only after EOF. The app must not take the missing answer for an empty one.
func TestUnsupportedHalfCloseEndsInAReset(t *testing.T) {
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t, lab.Options{Mode: mode}, "--half-close-timeout=1s")
			r.wantUnsupportedHalfClose(t)
		})
	}
}

// wantUnsupportedHalfClose half-closes a connection to a target that waits for EOF, and
// expects a reset.
func (r *rig) wantUnsupportedHalfClose(t *testing.T) {
	t.Helper()
	before := r.metrics(t)
	conn, err := r.dial(labtest.Context(t, hang), lab.ShootPod(lab.IPv4, 1), target.AfterEOFPort)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "a question"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %q and error %v, want a reset", got, err)
	}
	r.wantCounted(t, "proxy_client_close_total", before, "half_close_unsupported")
}

// TestDialWaitsForTheAgentToComeBack: agents restart. A dial that finds none waits for
// one within its budget.
func TestDialWaitsForTheAgentToComeBack(t *testing.T) {
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t, lab.Options{Mode: mode}, "--dial-timeout="+hang.String())
			r.Agent.Kill()
			r.awaitNoAgent(t)
			conn, err := r.dial(labtest.Context(t, hang), lab.ShootPod(lab.IPv4, 1), target.SpeakFirstPort)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := r.StartAgent(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(conn); err != nil || string(got) != target.Banner {
				t.Errorf("the connection that waited for an agent got %q and %v, want the whole banner", got, err)
			}
		})
	}
}

// TestServerNameIsVerified: a server whose certificate is for another name is never
// trusted. The sidecar is not ready, and its apps' connections are reset under the reason
// tls. The right name makes it ready.
func TestServerNameIsVerified(t *testing.T) {
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			r := newBareRig(t, lab.Options{Mode: mode})
			r.apply(t)
			command := r.ProxyClientCommand("--mode="+string(mode), "--server-name=somebody.else", "--dial-timeout=2s")
			sidecar, err := r.Pod.Start("proxy-client-distrusts", command)
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "the sidecar to live", func(ctx context.Context) error {
				return r.wantStatus(ctx, "/livez", http.StatusOK)
			})
			before := r.metrics(t)
			r.wantReset(t, lab.ShootPod(lab.IPv4, 1), target.HTTPPort, 2*time.Second+slack)
			r.wantCounted(t, "proxy_client_dial_failures_total", before, "tls")
			if err := r.wantStatus(labtest.Context(t, hang), "/readyz", http.StatusServiceUnavailable); err != nil {
				t.Error(err)
			}
			sidecar.Stop(hang)
			r.start(t, "--server-name="+lab.ServerName)
			r.testKinds(t)
		})
	}
}

// TestWhatAnAppSentBeforeItClosedArrives: an app that sends and closes at once loses
// nothing. When a tunnel is closed, the protocol discards bytes that are still on their
// way. The sidecar must therefore not close at once.
func TestWhatAnAppSentBeforeItClosedArrives(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Options{Mode: mode})
			want := target.Sunk{N: size, SHA256: target.PatternHash(size)}
			for i := range 5 {
				conn, err := r.dial(labtest.Context(t, hang), lab.ShootPod(lab.IPv4, 1+i), target.SinkPort)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.CopyN(conn, target.Pattern(), size); err != nil {
					t.Fatal(err)
				}
				if err := conn.Close(); err != nil {
					t.Fatal(err)
				}
				select {
				case got := <-r.targets.Sunk():
					if got != want {
						t.Errorf("the target got %+v, want %+v", got, want)
					}
				case <-time.After(hang):
					t.Fatal("the target's connection does not end")
				}
			}
		})
	}
}
