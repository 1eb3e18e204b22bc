// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// fewPorts is how many local ports a pod of these tests has.
const fewPorts = 200

// newFewPortsRig returns a rig over http-connect whose pod has fewPorts local ports. The
// apps connect from these ports as well, but to many addresses.
func newFewPortsRig(t *testing.T, flags ...string) *rig {
	t.Helper()
	r := newBareRig(t, lab.Options{Mode: lab.HTTPConnect, ShootFamilies: lab.IPv4})
	setting := fmt.Sprintf("net.ipv4.ip_local_port_range=40000 %d", 40000+fewPorts-1)
	if result, err := r.Pod.Run(labtest.Context(t, hang), lab.Command{Path: "sysctl", Args: []string{"-w", setting}}); err != nil {
		t.Fatalf("%v: %s", err, result.Stderr)
	}
	r.apply(t)
	r.start(t, flags...)
	return r
}

// TestPortsAreGivenBackAtOnce: connections that end give their local port back at once,
// whichever side ends them. The server has the TIME_WAIT of a minute. A server therefore
// carries many more short connections than there are ports.
func TestPortsAreGivenBackAtOnce(t *testing.T) {
	t.Parallel()
	const connections = 1200
	for _, end := range []struct {
		name string
		port int
		talk func(net.Conn) error
	}{
		{"the app closes", target.EchoPort, func(conn net.Conn) error {
			if _, err := io.WriteString(conn, "ping"); err != nil {
				return err
			}
			_, err := io.ReadFull(conn, make([]byte, len("ping")))
			return err
		}},
		{"the target closes", target.SpeakFirstPort, func(conn net.Conn) error {
			said, err := io.ReadAll(conn)
			if err == nil && string(said) != target.Banner {
				err = fmt.Errorf("got %q", said)
			}
			return err
		}},
	} {
		t.Run(end.name, func(t *testing.T) {
			t.Parallel()
			// The tunnel of an app that has just sent bytes stays for two seconds.
			r := newFewPortsRig(t, "--dial-timeout=20s")
			before := r.metrics(t)
			r.each(t, connections, 8, func(ctx context.Context, i int) error {
				conn, err := r.dial(ctx, lab.ShootPod(lab.IPv4, 1+i%lab.PodAddresses), end.port)
				if err != nil {
					return err
				}
				return errors.Join(end.talk(conn), conn.Close())
			})
			after := r.metrics(t)
			if failed := increases("proxy_client_dial_failures_total", before, after); len(failed) != 0 {
				t.Errorf("dials failed: %v", failed)
			}
		})
	}
}

// TestNoPortLeft: if no local port is left, a dial waits for one within its budget, and
// says so. The server is not marked as bad, and connections go on.
func TestNoPortLeft(t *testing.T) {
	r := newFewPortsRig(t, "--dial-timeout=2s")
	before := r.metrics(t)
	open := func(i int) (net.Conn, error) {
		conn, err := r.dial(labtest.Context(t, hang), lab.ShootPod(lab.IPv4, 1+i%lab.PodAddresses), target.EchoPort)
		if err != nil {
			return nil, err
		}
		if _, err = io.WriteString(conn, "ping"); err == nil {
			_, err = io.ReadFull(conn, make([]byte, len("ping")))
		}
		return conn, err
	}
	var held []net.Conn
	var failed error
	for i := 0; failed == nil; i++ {
		var conn net.Conn
		if conn, failed = open(i); conn != nil {
			held = append(held, conn)
			defer conn.Close()
		}
		if i == fewPorts && failed == nil {
			t.Fatal("there were more ports than the pod has")
		}
	}
	eventually(t, "the reason of the failed dial", func(ctx context.Context) error {
		after, err := r.SidecarMetrics(ctx)
		if err != nil {
			return err
		}
		failed := increases("proxy_client_dial_failures_total", before, after)
		if failed[`reason="no_port"`] != 1 || len(failed) != 1 {
			return fmt.Errorf("dials failed: %v, want one for no_port", failed)
		}
		return nil
	})
	if up := r.metrics(t).Sum("proxy_client_server_up"); up != 1 {
		t.Errorf("server_up is %v, want 1", up)
	}
	for _, conn := range held {
		_ = conn.Close()
	}
	eventually(t, "a connection, now that there are ports again", func(context.Context) error {
		conn, err := open(0)
		if conn != nil {
			_ = conn.Close()
		}
		return err
	})
}
