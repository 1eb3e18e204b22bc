// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/pkg/origdst"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/explain"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// crossing is a pod and a router where each connection that arrives anywhere is recorded.
// The router answers for every address.
type crossing struct {
	pod
	mu      sync.Mutex
	arrived map[string]string // what was sent → where it arrived
	ended   sync.WaitGroup
	sent    int
}

// podPorts are the ports on which something listens in the pod, with its user.
func podPorts() map[uint16]int {
	return map[uint16]int{14001: 14001, 15001: 1337, 15006: 1337, 8080: 1000, 53: 0}
}

// The router's ports, to which it redirects all that comes.
const (
	routerTCP = 7000
	routerUDP = 7001
)

func newCrossing(t *testing.T) *crossing {
	t.Helper()
	c := &crossing{pod: dualStackPod(t), arrived: map[string]string{}}
	t.Cleanup(c.ended.Wait)
	for _, family := range []string{"-4", "-6"} {
		c.router.Run(t, "ip", family, "route", "add", "local", "default", "dev", "lo", "table", "main")
	}
	load := c.router.Command("nft", "-f", "-")
	load.Stdin = strings.NewReader(fmt.Sprintf("table inet r {\n chain p {\n  type nat hook prerouting priority -100; policy accept;\n"+
		"  meta l4proto tcp redirect to :%d\n  meta l4proto udp redirect to :%d\n }\n}\n", routerTCP, routerUDP))
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("nft in the router: %v\n%s", err, out)
	}
	c.router.Do(t, func() {
		c.serve(t, fmt.Sprintf("[::]:%d", routerTCP), "router")
		c.serveUDP(t, fmt.Sprintf("[::]:%d", routerUDP), "router")
	})
	for port, uid := range podPorts() {
		where := fmt.Sprintf("pod %d", port)
		c.as(t, uid, func() {
			if port == 14001 { // the sidecar listens on loopback alone
				c.serve(t, "127.0.0.1:14001", where)
				c.serve(t, "[::1]:14001", where)
				return
			}
			c.serve(t, fmt.Sprintf("[::]:%d", port), where)
			c.serveUDP(t, fmt.Sprintf("[::]:%d", port), where)
		})
	}
	return c
}

// serve answers each connection with the place where it arrived.
func (c *crossing) serve(t *testing.T, address, where string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	c.ended.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			place := where
			if to, err := origdst.Lookup(conn.(*net.TCPConn)); where == "router" && err == nil {
				place += " " + to.String()
			}
			_, _ = io.WriteString(conn, place+"\n")
			_ = conn.Close()
		}
	})
}

// serveUDP records where each datagram arrives.
func (c *crossing) serveUDP(t *testing.T, address, where string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c.ended.Go(func() {
		buffer := make([]byte, 64)
		for {
			n, _, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			c.mu.Lock()
			c.arrived[string(buffer[:n])] = where
			c.mu.Unlock()
		}
	})
}

// patience is how long a connection that should be dropped may take to fail otherwise. A
// longer wait could only find more faults.
const patience = 300 * time.Millisecond

// try makes the connection, and returns where it arrived or how it failed.
func (c *crossing) try(t *testing.T, traffic Traffic, wait time.Duration) string {
	t.Helper()
	if traffic.UDP {
		return c.tryUDP(t, traffic, wait)
	}
	conn, err := c.connect(t, traffic, wait)
	if err != nil {
		return failure(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(hang))
	place, err := io.ReadAll(conn)
	if err != nil {
		return failure(err)
	}
	return strings.TrimSpace(string(place))
}

func (c *crossing) tryUDP(t *testing.T, traffic Traffic, wait time.Duration) string {
	t.Helper()
	conn, err := c.connect(t, traffic, wait)
	if err != nil {
		return failure(err)
	}
	defer conn.Close()
	c.sent++
	id := fmt.Sprint("datagram ", c.sent)
	if _, err := io.WriteString(conn, id); err != nil {
		return failure(err)
	}
	for until := time.Now().Add(wait); time.Now().Before(until); {
		_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
			return failure(err)
		}
		c.mu.Lock()
		place, ok := c.arrived[id]
		c.mu.Unlock()
		if ok {
			return place
		}
	}
	return "timeout"
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// failure names an error in one word.
func failure(err error) string {
	if isTimeout(err) {
		return "timeout"
	}
	var number syscall.Errno
	if errors.As(err, &number) {
		return unix.ErrnoName(number)
	}
	return err.Error()
}

// connect connects as traffic says, from the pod or, for a source outside, from the router.
func (c *crossing) connect(t *testing.T, traffic Traffic, wait time.Duration) (conn net.Conn, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	network := "tcp"
	dialer := net.Dialer{}
	if traffic.UDP {
		network = "udp"
	}
	if from := traffic.From; from.Addr().IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(from)
		if traffic.UDP {
			dialer.LocalAddr = net.UDPAddrFromAddrPort(from)
		}
	}
	dialer.Control = func(_, _ string, raw syscall.RawConn) (err error) {
		if traffic.Device == "" {
			return nil
		}
		_ = raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), traffic.Device) })
		return err
	}
	dial := func() { conn, err = dialer.DialContext(ctx, network, traffic.To.String()) }
	if traffic.From.Addr() == netnstest.RouterAddress(netnstest.IPv4) || traffic.From.Addr() == netnstest.RouterAddress(netnstest.IPv6) {
		c.router.Do(t, dial)
		return conn, err
	}
	c.as(t, int(*traffic.UID), dial)
	return conn, err
}

// lost reports whether a packet gets no answer. No router takes one from or to a loopback
// address.
func lost(o explain.Outcome) bool {
	return o.Result == netfilter.Dropped || o.Result == netfilter.Leaves && (o.Destination.Addr().IsLoopback() || o.Source.Addr().IsLoopback())
}

// silent reports whether the app may hear nothing of an error: an ICMP error comes by lo,
// which is not the device to which a socket is bound. A reset for a packet whose destination
// was changed comes from there, and to 127.0.0.1 it does not come. TCP does not tell that
// there was no route after a change.
func silent(o explain.Outcome, traffic Traffic) bool {
	switch o.Result {
	case netfilter.Rejected:
		return traffic.Device != "" || o.Destination != traffic.To
	case netfilter.Refused:
		return traffic.Device != "" && traffic.UDP
	case netfilter.Unroutable:
		return o.Rule != "" && !traffic.UDP
	default:
		return false
	}
}

// agrees reports whether what happened is what was predicted.
func agrees(o explain.Outcome, traffic Traffic, happened string) bool {
	destination, udp := o.Destination, traffic.UDP
	if lost(o) && (happened == "timeout" || happened == "EPERM") {
		return true
	}
	if silent(o, traffic) && happened == "timeout" {
		return true
	}
	switch o.Result {
	case netfilter.Arrives:
		return happened == fmt.Sprintf("pod %d", destination.Port())
	case netfilter.Leaves:
		return happened == "router" && udp || happened == "router "+destination.String()
	case netfilter.Refused:
		return happened == "ECONNREFUSED"
	case netfilter.Rejected:
		return happened == "ECONNREFUSED" || happened == "EPERM" || happened == "EHOSTUNREACH" || happened == "EACCES"
	case netfilter.Unroutable:
		return strings.HasPrefix(happened, "E") && happened != "ECONNREFUSED" && happened != "EPERM"
	default:
		return false
	}
}

// predictAndTry compares one prediction with what happens. It returns the results that were
// predicted.
func (c *crossing) predictAndTry(t *testing.T, traffic Traffic) []netfilter.Result {
	t.Helper()
	path, err := Follow(t.Context(), traffic, Options{Netns: c.Path()})
	if err != nil {
		t.Fatalf("%+v: %v", traffic, err)
	}
	wait := hang
	var predicted []netfilter.Result
	for _, o := range path.Outcomes {
		predicted = append(predicted, o.Result)
		if lost(o) || silent(o, traffic) {
			wait = patience
		}
	}
	happened := c.try(t, traffic, wait)
	for _, o := range path.Outcomes {
		uid, known := podPorts()[o.Destination.Port()]
		if o.Result == netfilter.Arrives && (!known || o.ListenerUID == nil || int(*o.ListenerUID) != uid) {
			continue
		}
		if agrees(o, traffic, happened) {
			return predicted
		}
	}
	var text strings.Builder
	_ = path.WriteText(&text)
	t.Errorf("what happened is %q, and what was predicted:\n%s", happened, &text)
	return predicted
}
