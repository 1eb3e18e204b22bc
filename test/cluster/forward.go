// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"github.com/shoot-proxy/proxy-client/test/cluster/node"
)

// Forwarder passes connections from a port of 127.0.0.1 to an address inside a node.
// Through it kubectl reaches kube-apiserver without a route on the machine.
type Forwarder struct {
	listener net.Listener
	node     *node.Handle
	target   netip.AddrPort

	cancel context.CancelFunc
	done   sync.WaitGroup
}

// Forward starts a Forwarder, which runs until it is closed.
func Forward(n *node.Handle, target netip.AddrPort) (*Forwarder, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for connections to %s: %w", target, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &Forwarder{listener: listener, node: n, target: target, cancel: cancel}
	f.done.Go(func() { f.accept(ctx) })
	return f, nil
}

// Address returns the port of 127.0.0.1, as HOST:PORT.
func (f *Forwarder) Address() string { return f.listener.Addr().String() }

// accept accepts connections until the listener is closed.
func (f *Forwarder) accept(ctx context.Context) {
	for {
		conn, err := f.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			f.done.Go(func() { f.relay(ctx, conn) })
		}
	}
}

// relay copies in both directions until both sides have ended, or ctx has.
func (f *Forwarder) relay(ctx context.Context, client net.Conn) {
	defer client.Close()
	server, err := f.node.DialContext(ctx, "tcp", f.target.String())
	if err != nil {
		return // the client sees its connection closed, and tries again
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { client.Close(); server.Close() })
	defer stop()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(way[1], way[0]) // only its end matters
			if half, ok := way[1].(*net.TCPConn); ok {
				_ = half.CloseWrite()
			}
		})
	}
	both.Wait()
}

// Close ends all connections.
func (f *Forwarder) Close() error {
	err := f.listener.Close()
	f.cancel()
	f.done.Wait()
	return err
}
