// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestRefusedConnectionsAreResetCountedAndLoggedOnce: a connection that the sidecar must
// not or cannot carry is reset at once. It is counted under its reason alone, and logged
// once.
func TestRefusedConnectionsAreResetCountedAndLoggedOnce(t *testing.T) {
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t, lab.Options{Mode: mode})
			started, refused := len(r.logLines(t)), 0
			for _, f := range lab.DualStack.Each() {
				r.redirectOutside(t, f)
				loopback := netip.MustParseAddr("127.0.0.1")
				if f == lab.IPv6 {
					loopback = netip.IPv6Loopback()
				}
				for _, c := range []struct {
					name   string
					addr   netip.Addr
					port   int
					reason string
				}{
					{"the sidecar's own port", loopback, lab.ProxyPort, "not_redirected"},
					{"an address outside the CIDRs", lab.Outside(f), 80, "outside_cidrs"},
					{"a closed port in the shoot", lab.ShootPod(f, 1), target.ClosedPort, "refused"},
				} {
					t.Run(fmt.Sprint(f, " ", c.name), func(t *testing.T) {
						refused++
						metrics, lines := r.metrics(t), r.logLines(t)
						r.wantReset(t, c.addr, c.port, hang)
						r.wantCounted(t, "proxy_client_dial_failures_total", metrics, c.reason)
						eventually(t, "the reset to be logged", func(context.Context) error {
							if added := r.logLines(t)[len(lines):]; len(added) != 1 || !strings.Contains(added[0], c.reason) {
								return fmt.Errorf("logged %q, want one line with the reason %s", added, c.reason)
							}
							return nil
						})
					})
				}
			}
			if got := len(r.logLines(t)) - started; got != refused {
				t.Errorf("%d refused connections left %d log lines", refused, got)
			}
		})
	}
}

// redirectOutside redirects connections to an address outside the CIDRs to the sidecar,
// as a stray rule of another program would.
func (r *rig) redirectOutside(t *testing.T, f lab.Families) {
	t.Helper()
	r.iptables(t, f, "-t", "nat", "-I", "OUTPUT", "-d", lab.Outside(f).String(), "-p", "tcp", "-j", "REDIRECT", "--to-ports", fmt.Sprint(lab.ProxyPort))
}

func (r *rig) iptables(t *testing.T, f lab.Families, args ...string) {
	t.Helper()
	path := "iptables"
	if f == lab.IPv6 {
		path = "ip6tables"
	}
	if _, err := r.Pod.Run(labtest.Context(t, hang), lab.Command{Path: path, Args: append([]string{"-w"}, args...)}); err != nil {
		t.Fatal(err)
	}
}

// wantLogged waits until the sidecar's log has each of texts that many times or more, and
// returns the log. A line comes after the reset that the app sees, and after the metric.
func (r *rig) wantLogged(t *testing.T, texts map[string]int) (log string) {
	t.Helper()
	eventually(t, "the log to tell what happened", func(context.Context) error {
		log = r.log(t)
		for text, times := range texts {
			if n := strings.Count(log, text); n < times {
				return fmt.Errorf("it has %q %d times, want %d:\n%s", text, n, times, log)
			}
		}
		return nil
	})
	return log
}

// logLines returns the sidecar's log lines, each of which must be JSON.
func (r *rig) logLines(t *testing.T) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(r.log(t)) {
		if !strings.HasSuffix(line, "\n") {
			break // the sidecar is still writing it
		}
		if !json.Valid([]byte(line)) {
			t.Fatalf("the sidecar's log has a line that is not JSON: %q", line)
		}
		lines = append(lines, line)
	}
	return lines
}

// TestShootTrafficNeverLeavesThePod: nothing for the shoot ever leaves the pod. What
// cannot be tunnelled is rejected at once. TCP is rejected too after the nat rules have
// been flushed.
func TestShootTrafficNeverLeavesThePod(t *testing.T) {
	r := newBareRig(t, lab.Options{})
	ctx := labtest.Context(t, 2*time.Minute)
	capture, err := r.CapturePod()
	if err != nil {
		t.Fatal(err)
	}
	defer capture.Close()
	for _, f := range lab.DualStack.Each() {
		_ = r.Unreachable(ctx, lab.ShootPod(f, 1), target.HTTPPort)
	}
	if leaked := r.captured(t, capture); len(leaked) < 2 {
		t.Fatalf("without the product the capture sees only %v, so it proves nothing", leaked)
	}
	r.apply(t)
	r.start(t)
	tried := func(what string) {
		t.Helper()
		if leaked := r.captured(t, capture); len(leaked) != 0 {
			t.Errorf("%s: left the pod: %v", what, leaked)
		}
	}
	for _, f := range lab.DualStack.Each() {
		for _, addr := range kinds(f) {
			r.wantUDPRejected(t, addr)
			r.wantPingRejected(t, addr)
		}
		tried(fmt.Sprint(f, " UDP and ping"))
		if _, err := r.app(ctx, nil, nil, "curl", "-sS", lab.URL(lab.ShootPod(f, 1), target.HTTPPort, "/")); err != nil {
			t.Error(err)
		}
		tried(fmt.Sprint(f, " TCP through the tunnel"))
		r.iptables(t, f, "-t", "nat", "-F")
		for _, addr := range kinds(f) {
			if conn, err := r.dial(ctx, addr, target.HTTPPort); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("after a flush of nat, a connection to %s gives %v, %v; want it refused", addr, conn, err)
			}
		}
		tried(fmt.Sprint(f, " TCP after a flush of nat"))
	}
}

func (r *rig) captured(t *testing.T, c *lab.Capture) []lab.Packet {
	t.Helper()
	packets, err := c.Packets(labtest.Context(t, hang))
	if err != nil {
		t.Fatal(err)
	}
	return lab.ForShoot(packets)
}

// wantUDPRejected sends a datagram as an app does and expects an error, from the send
// itself or while it waits for the answer.
func (r *rig) wantUDPRejected(t *testing.T, addr netip.Addr) {
	t.Helper()
	ctx := labtest.Context(t, hang)
	conn, err := r.Pod.DialContext(ctx, "udp", net.JoinHostPort(addr.String(), "53"))
	if err != nil {
		t.Errorf("UDP to %s: %v", addr, err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(hang))
	_, err = conn.Write([]byte("hello"))
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EPERM) {
		t.Errorf("UDP to %s ended with %v, want it rejected", addr, err)
	}
}

func (r *rig) wantPingRejected(t *testing.T, addr netip.Addr) {
	t.Helper()
	// -W would be waited for in full if nothing came back.
	limit := hang.Seconds()
	started := time.Now()
	result, err := r.Pod.Run(labtest.Context(t, 2*hang), lab.Command{
		Path: "ping", Args: []string{"-n", "-c1", "-W", fmt.Sprint(limit), addr.String()},
	})
	said := result.Stdout + result.Stderr
	if err == nil || time.Since(started) > hang/2 || !strings.Contains(said, "ermitted") && !strings.Contains(said, "nreachable") {
		t.Errorf("ping %s: %v after %v: %s; want it rejected on the spot", addr, err, time.Since(started), said)
	}
}

// TestNobodyOutsideThePodReachesTheListener: the listener is for the pod alone. Any other
// host that could use it would have the use of the pod's client certificate.
func TestNobodyOutsideThePodReachesTheListener(t *testing.T) {
	r := newRig(t, lab.Options{})
	ctx := labtest.Context(t, hang)
	for _, f := range lab.DualStack.Each() {
		dial := func(port int) error {
			conn, err := r.Seed.DialContext(ctx, "tcp", net.JoinHostPort(lab.PodAddress(f).String(), fmt.Sprint(port)))
			if err == nil {
				err = conn.Close()
			}
			return err
		}
		if err := dial(lab.HealthPort); err != nil {
			t.Errorf("%s: the seed cannot even reach the health port, so the rest proves nothing: %v", f, err)
		}
		if err := dial(lab.ProxyPort); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: the seed connects to the sidecar's listener: error %v, want it refused", f, err)
		}
	}
}
