// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/pkg/origdst"
)

// checkIn calls Check inside of pod.
func checkIn(t *testing.T, pod *netnstest.NS, target netip.AddrPort, timeout time.Duration) (err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	// For a literal address net.Dialer makes its socket on the calling thread, which Do
	// has moved to the namespace.
	pod.Do(t, func() { err = Check(ctx, target) })
	return err
}

// A probe in a real pod: without a route, without a redirect, with a redirect to a
// closed port, and with a redirect to a listener that reads SO_ORIGINAL_DST.
func TestCheckInARealNamespace(t *testing.T) {
	netnstest.RequireRoot(t)
	for _, tt := range []struct {
		family   netnstest.Family
		iptables string
		target   netip.AddrPort
	}{
		{netnstest.IPv4, "iptables", Target4(newSet(t, "100.64.0.0/12", ""))},
		{netnstest.IPv6, "ip6tables", Target6(newSet(t, "fd00:10::/48", ""))},
	} {
		t.Run(tt.iptables, func(t *testing.T) {
			pod, router := netnstest.New(t), netnstest.New(t)
			err := checkIn(t, pod, tt.target, time.Minute)
			checkFailure(t, err, tt.target, []string{"network is unreachable", "no route or address of this family"})

			netnstest.Connect(t, pod, router, tt.family)
			router.Run(t, tt.iptables, "-A", "INPUT", "-j", "DROP") // no answer comes
			router.Run(t, tt.iptables, "-A", "FORWARD", "-j", "DROP")
			err = checkIn(t, pod, tt.target, 200*time.Millisecond)
			checkFailure(t, err, tt.target, []string{"was not redirected", "init-redirect apply"})

			listener := listenIn(t, pod, tt.family)
			port := listener.Addr().(*net.TCPAddr).Port
			pod.Run(t, tt.iptables, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", tt.target.Addr().String(),
				"--dport", fmt.Sprint(tt.target.Port()), "-j", "REDIRECT", "--to-ports", fmt.Sprint(port))
			answered := make(chan error, 1)
			go func() { answered <- answerOne(listener) }()
			if err := checkIn(t, pod, tt.target, time.Minute); err != nil {
				t.Errorf("a redirect that works is reported as broken: %v", err)
			}
			if err := <-answered; err != nil {
				t.Errorf("the sidecar's side of the probe: %v", err)
			}

			listener.Close()
			err = checkIn(t, pod, tt.target, time.Minute)
			checkFailure(t, err, tt.target, []string{"connection refused", "nothing listens where the connection was led"})
			if !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("the error hides what happened: %v", err)
			}
		})
	}
}

func listenIn(t *testing.T, pod *netnstest.NS, family netnstest.Family) (l net.Listener) {
	t.Helper()
	host := "127.0.0.1:0"
	if family == netnstest.IPv6 {
		host = "[::1]:0"
	}
	pod.Do(t, func() {
		var err error
		if l, err = net.Listen("tcp", host); err != nil {
			t.Fatal(err)
		}
		// A probe that never arrives must not block the test.
		if err = l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { l.Close() })
	return l
}

func answerOne(l net.Listener) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	dst, err := origdst.Lookup(conn.(*net.TCPConn))
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	return Answer(conn, dst)
}
