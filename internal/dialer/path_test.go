// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// fixedNames is a resolver whose answers do not change.
type fixedNames map[string][]netip.Addr

// LookupNetIP implements resolver.
func (f fixedNames) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return f[host], nil
}

// blackHole takes a port of 127.0.0.1, on which the kernel drops all SYNs: its
// queue is full, and nobody accepts.
func blackHole(t *testing.T) uint16 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, unix.Listen(fd, 0))
	name, err := unix.Getsockname(fd)
	must(t, err)
	port := name.(*unix.SockaddrInet4).Port
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		c, err := new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
		cancel()
		if err != nil {
			return uint16(port)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

// TestBlackHoledAddress: one dead address behind a name costs a dial less than
// what a dial has for a server, and the next ones nothing. The certificate is
// the name's, whichever address it is presented at.
func TestBlackHoledAddress(t *testing.T) {
	p := newPKI(t)
	port := blackHole(t)
	l, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port).String())
	must(t, err)
	var dials atomic.Int64
	server := p.serveGRPCOn(t, l, tunnel.ModeAuto, answerWith("", &dials))
	server.Name = "localhost"
	server.Address = net.JoinHostPort("localhost", strconv.Itoa(int(port)))
	d := newDialer(t, p.client(), hang, server)
	d.resolver = fixedNames{"localhost": {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}}
	for _, failovers := range []float64{1, 1} {
		began := time.Now()
		conn, err := d.dial(t)
		must(t, err)
		must(t, conn.Close())
		if took := time.Since(began); took > lookTimeout {
			t.Errorf("the dial took %v", took)
		}
		if n := testutil.ToFloat64(d.metrics.failovers); n != failovers {
			t.Errorf("failovers_total is %v, want %v", n, failovers)
		}
	}
}

// TestLookSeesRefusedCertificate: a server that does not trust us is not up,
// though with TLS 1.3 the handshake succeeds on our side.
func TestLookSeesRefusedCertificate(t *testing.T) {
	p, foreign := newPKI(t), newPKI(t).client()
	foreign.CAFile = p.file("ca.crt")
	var dials atomic.Int64
	for _, server := range []tunnel.Server{
		p.serveGRPC(t, tunnel.ModeGRPC, answerWith("", &dials)),
		p.serveConnect(t, tunnel.ModeHTTPConnect, func(*tls.Conn) {}),
	} {
		t.Run(string(server.Mode), func(t *testing.T) {
			d := newDialer(t, foreign, hang, server)
			err := d.endpoint(t).reach(t.Context())
			if err == nil || tunnel.ReasonOf(err) != tunnel.ReasonTLS || !strings.Contains(err.Error(), "--client-cert") {
				t.Errorf("the look ended with %v, want reason %s and --client-cert", err, tunnel.ReasonTLS)
			}
			if d.endpoint(t).up.Load() {
				t.Error("a server that refuses our certificate is up")
			}
		})
	}
}

// TestLookSeesStoppedServer: the kernel takes connections to a Unix socket for a
// process that hangs.
func TestLookSeesStoppedServer(t *testing.T) {
	for _, mode := range []tunnel.Mode{tunnel.ModeGRPC, tunnel.ModeHTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", name)
			must(t, err)
			defer l.Close()
			d := newDialer(t, tunnel.TLS{}, hang, tunnel.Server{Name: name, Network: tunnel.NetworkUnix, Address: name, Mode: mode})
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := d.endpoint(t).greet(ctx); err == nil || tunnel.ReasonOf(err) != tunnel.ReasonServerUnreachable {
				t.Errorf("a look at a server that hangs ended with %v, want %s", err, tunnel.ReasonServerUnreachable)
			}
		})
	}
}

// TestKeepaliveOfServerConnections: the kernel asks as often as configured, a moment
// without packets ends no connection on which nothing is being sent, and a dead
// server is noticed by default as soon as where something is.
func TestKeepaliveOfServerConnections(t *testing.T) {
	p := newPKI(t)
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(*tls.Conn) {}))
	for _, idle := range []time.Duration{5 * time.Second, 42 * time.Second} {
		d.keepalive = idle
		conn, err := d.endpoint(t).connectTCP(t.Context())
		must(t, err)
		got := map[string]int{}
		must(t, conn.(*watchedConn).raw.Control(func(fd uintptr) {
			for name, option := range map[string][2]int{
				"on": {unix.SOL_SOCKET, unix.SO_KEEPALIVE}, "idle": {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
				"interval": {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}, "count": {unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
				"user timeout": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
			} {
				got[name], err = unix.GetsockoptInt(int(fd), option[0], option[1])
				must(t, err)
			}
		}))
		must(t, conn.Close())
		want := map[string]int{"on": 1, "idle": int(idle.Seconds()), "interval": 1, "count": 5, "user timeout": 0}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("keepalive of %s (-want +got):\n%s", idle, diff)
		}
	}
	usual := keepalive(options.NewProxyClient().ServerKeepalive)
	if noticed := usual.Idle + time.Duration(usual.Count)*usual.Interval; noticed != ackTimeout {
		t.Errorf("by default a dead server is noticed after %s, want %s", noticed, ackTimeout)
	}
	if forgiven := time.Duration(usual.Count-1) * usual.Interval; forgiven < 4*time.Second {
		t.Errorf("%s without packets are forgiven, want 4s at least", forgiven)
	}
}
