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

// forwarder passes connections from a port of 127.0.0.1 to an address inside a node.
// Through it kubectl reaches kube-apiserver without a route on the machine.
type forwarder struct {
	listener net.Listener
	node     *node.Handle
	target   netip.AddrPort

	cancel context.CancelFunc
	done   sync.WaitGroup
}

func forward(n *node.Handle, target netip.AddrPort) (*forwarder, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for connections to %s: %w", target, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &forwarder{listener: listener, node: n, target: target, cancel: cancel}
	f.done.Go(func() { f.accept(ctx) })
	return f, nil
}

func (f *forwarder) address() string { return f.listener.Addr().String() }

// accept accepts connections until the listener is closed.
func (f *forwarder) accept(ctx context.Context) {
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
func (f *forwarder) relay(ctx context.Context, client net.Conn) {
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

// close ends all connections.
func (f *forwarder) close() error {
	err := f.listener.Close()
	f.cancel()
	f.done.Wait()
	return err
}
