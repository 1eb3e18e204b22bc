// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// fixedNames is a resolver whose answers do not change.
type fixedNames map[string][]netip.Addr

// LookupNetIP implements resolver.
func (f fixedNames) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return f[host], nil
}

// blackHole takes a port of 127.0.0.1 on which the kernel drops all SYNs, because the
// queue is full and no process accepts.
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

// TestBlackHoledAddress: one dead address of a name costs a dial less than its time for
// a server, and the next dials nothing. The certificate is for the name, whichever
// address presents it.
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
	for range 2 {
		conn, err := d.dial(t)
		must(t, err)
		must(t, conn.Close())
		if n := testutil.ToFloat64(d.metrics.failovers); n != 1 {
			t.Errorf("failovers_total is %v, want 1", n)
		}
		// In a program the watch has it by now. Without one the second dial may come after
		// the back-off, and try the dead address again.
		d.servers[0].known()[0].watched.Store(true)
	}

	// The kernel would try for two minutes, and this context has no deadline. So the end
	// comes from the limit of a connect. How long a dial waits is proved in virtual time,
	// by the tests of the fake network.
	connected := make(chan *tunnel.Error, 1)
	go func() {
		_, _, err := connectTo(t.Context(), d.servers[0].known()[0], d.servers[0].protos())
		connected <- err
	}()
	var timeout net.Error
	if err := waittest.Await(t, connected, "the end of a connect to the dead address"); err == nil || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("the connect to the dead address ended with %v, want a timeout", err)
	}
	if serverconn.AddressTimeout >= answerTimeout {
		t.Errorf("a connect may take %v, and a dial waits %v for a server", serverconn.AddressTimeout, answerTimeout)
	}
}

// TestCheckSeesRefusedCertificate: a server that does not trust us is not up, although
// with TLS 1.3 the handshake succeeds on our side.
func TestCheckSeesRefusedCertificate(t *testing.T) {
	p, foreign := newPKI(t), newPKI(t).client()
	foreign.CAFile = p.file("ca.crt")
	var dials atomic.Int64
	for _, server := range []tunnel.Server{
		p.serveGRPC(t, tunnel.ModeGRPC, answerWith("", &dials)),
		p.serveConnect(t, tunnel.ModeHTTPConnect, func(*tls.Conn) {}),
	} {
		t.Run(string(server.Mode), func(t *testing.T) {
			d := newDialer(t, foreign, hang, server)
			err := d.endpoint(t).Check(t.Context())
			if err == nil || tunnel.ReasonOf(err) != tunnel.ReasonTLS || !strings.Contains(err.Error(), "--client-cert") {
				t.Errorf("the check ended with %v, want reason %s and --client-cert", err, tunnel.ReasonTLS)
			}
			if d.endpoint(t).up.Load() {
				t.Error("a server that refuses our certificate is up")
			}
		})
	}
}

// TestCheckSeesStoppedServer: the kernel accepts connections to the Unix socket of a
// process that hangs. A check finds that out.
func TestCheckSeesStoppedServer(t *testing.T) {
	for _, mode := range []tunnel.Mode{tunnel.ModeGRPC, tunnel.ModeHTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", name)
			must(t, err)
			defer l.Close()
			d := newDialer(t, tunnel.TLS{}, hang, tunnel.Server{Name: name, Network: tunnel.NetworkUnix, Address: name, Mode: mode})
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := d.endpoint(t).connectAndGreet(ctx); err == nil || tunnel.ReasonOf(err) != tunnel.ReasonServerUnreachable {
				t.Errorf("a check of a server that hangs ended with %v, want %s", err, tunnel.ReasonServerUnreachable)
			}
		})
	}
}
