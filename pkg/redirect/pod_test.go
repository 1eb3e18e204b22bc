// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/pkg/origdst"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
)

// hang ends a wait that would otherwise last for ever. Without a fault each wait ends at once.
const hang = 20 * time.Second

// shootCIDR returns the CIDR of a shoot of one family.
func shootCIDR(f Family) string {
	if f == IPv4 {
		return "100.64.0.0/12"
	}
	return "fd00:10::/48"
}

func shootTarget(f Family) netip.AddrPort {
	if f == IPv4 {
		return netip.MustParseAddrPort("100.64.3.7:9100")
	}
	return netip.MustParseAddrPort("[fd00:10::3:7]:9100")
}

// pod is a network namespace with a default route over a router of its own.
type pod struct {
	*netnstest.NS
	router *netnstest.NS
}

func newPod(t *testing.T, families ...netnstest.Family) pod {
	t.Helper()
	netnstest.RequireRoot(t)
	p := pod{netnstest.New(t), netnstest.New(t)}
	netnstest.Connect(t, p.NS, p.router, families...)
	return p
}

func dualStackPod(t *testing.T) pod {
	t.Helper()
	return newPod(t, netnstest.IPv4, netnstest.IPv6)
}

func (p pod) options(t *testing.T, b Backend) Options {
	return Options{Backend: b, Netns: p.Path(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

func (p pod) apply(t *testing.T, cfg Config, b Backend) *Result {
	t.Helper()
	result, err := Apply(t.Context(), cfg, p.options(t, b))
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	return result
}

func (p pod) verify(t *testing.T, cfg Config, b Backend) error {
	t.Helper()
	return Verify(t.Context(), cfg, p.options(t, b))
}

// program returns the name of the iptables program of a family and backend.
func program(f Family, b Backend) string {
	if f == IPv4 {
		return "iptables-" + string(b)
	}
	return "ip6tables-" + string(b)
}

// iptables runs the program. It waits for the lock that all tests share.
func (p pod) iptables(t *testing.T, f Family, b Backend, args ...string) string {
	t.Helper()
	return p.Run(t, program(f, b), append([]string{"-w"}, args...)...)
}

// rules returns the output of iptables-save without its dates. It has counters if args ask
// for them.
func (p pod) rules(t *testing.T, f Family, b Backend, args ...string) string {
	t.Helper()
	var text strings.Builder
	for line := range strings.Lines(p.Run(t, program(f, b)+"-save", args...)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if len(args) == 0 && strings.HasPrefix(line, ":") {
			line, _, _ = strings.Cut(line, " [") // counters of the builtin chains
			line += "\n"
		}
		text.WriteString(line)
	}
	return text.String()
}

// everything returns the state of a pod that clean has to restore.
func (p pod) everything(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, f := range bothFamilies() {
		for _, b := range bothBackends() {
			for line := range strings.Lines(p.rules(t, f, b)) {
				// A table that was once used has empty builtin chains left.
				if strings.HasPrefix(line, "-A") || strings.HasPrefix(line, ":") && strings.Contains(line, " - ") {
					text.WriteString(program(f, b) + " " + line)
				}
			}
		}
	}
	for _, args := range []string{"-4 -br address", "-4 route", "-4 route show table local", "-6 route show proto 141", "-6 route show table local proto 141", "-6 -br address show scope global"} {
		// Only standard output: to standard error ip complains about namespaces that
		// other tests delete meanwhile.
		out, err := p.Command("ip", strings.Fields(args)...).Output()
		if err != nil {
			t.Fatalf("ip %s: %v", args, err)
		}
		text.Write(out)
	}
	return text.String()
}

// dial connects from the pod.
func (p pod) dial(t *testing.T, network string, to netip.AddrPort) (conn net.Conn, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	p.Do(t, func() { conn, err = new(net.Dialer).DialContext(ctx, network, to.String()) })
	return conn, err
}

// sidecar listens like proxy-client, and answers probes. On every other connection it sends a
// line with the original destination, and then echoes.
func (p pod) sidecar(t *testing.T, f Family) {
	t.Helper()
	listener := p.listenOnProxyPort(t, f)
	var open sync.WaitGroup
	ended, end := context.WithCancel(context.Background())
	open.Go(func() {
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			// A connection whose app is gone would stay until its deadline.
			context.AfterFunc(ended, func() { _ = conn.Close() })
			open.Go(func() { echo(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		end()
		open.Wait()
	})
}

// listenOnProxyPort listens at the address to which the rules redirect.
func (p pod) listenOnProxyPort(t *testing.T, f Family) *net.TCPListener {
	t.Helper()
	address := net.TCPAddrFromAddrPort(netip.AddrPortFrom(family.Loopback(f), 14001))
	for until := time.Now().Add(hang); ; {
		var listener *net.TCPListener
		var err error
		p.Do(t, func() { listener, err = net.ListenTCP("tcp", address) })
		if err == nil {
			return listener
		}
		// A listener that Verify has just closed can still be open in a child of this
		// process: a parallel test has forked it, and it has not called execve yet.
		if !errors.Is(err, unix.EADDRINUSE) || time.Now().After(until) {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
}

func echo(conn *net.TCPConn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * hang))
	dst, err := origdst.Lookup(conn)
	if err != nil {
		_, _ = io.WriteString(conn, err.Error()+"\n")
		return
	}
	if dst.Port() >= 20000 && dst.Port() < 30000 { // the probes' ports, see package probe
		_ = probe.Answer(conn, dst)
		return
	}
	_, _ = io.WriteString(conn, dst.String()+"\n")
	_, _ = io.Copy(conn, conn)
}

// readLine reads the line that the sidecar sends first.
func readLine(t *testing.T, conn net.Conn) string {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(hang))
	var line []byte
	one := make([]byte, 1)
	for {
		if _, err := io.ReadFull(conn, one); err != nil {
			t.Fatalf("read from %s after %q: %v", conn.RemoteAddr(), line, err)
		}
		if one[0] == '\n' {
			return string(line)
		}
		line = append(line, one[0])
	}
}

// reaches fails the test unless a connection to the shoot is redirected.
func (p pod) reaches(t *testing.T, to netip.AddrPort) {
	t.Helper()
	conn, err := p.dial(t, "tcp", to)
	if err != nil {
		t.Fatalf("a connection to %s is not redirected: %v", to, err)
	}
	defer conn.Close()
	if got := readLine(t, conn); got != to.String() {
		t.Errorf("the sidecar saw a connection to %q, want %s", got, to)
	}
}
