// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// counting returns tun for a relay. The bytes that pass are counted at once, because a
// download of an hour should show in the metrics before it ends.
func (p *Proxy) counting(tun tunnel.Conn) relay.Tunnel {
	counting := countingConn{tun, p}
	if carrier, ok := tun.(tunnel.Carrier); ok {
		return &countingCarrier{counting, carrier}
	}
	return &counting
}

type countingConn struct {
	tunnel.Conn
	proxy *Proxy
}

// Send implements relay.Tunnel.
func (c *countingConn) Send(b []byte) error {
	err := c.Conn.Send(b)
	if err == nil {
		c.proxy.countSent(len(b))
	}
	return err
}

// countSent counts bytes of an app that were sent to its target.
func (p *Proxy) countSent(n int) {
	p.metrics.sent.Add(float64(n))
	p.history.sent.Add(int64(n))
}

// Receive implements relay.Tunnel.
func (c *countingConn) Receive() ([]byte, error) {
	b, err := c.Conn.Receive()
	c.proxy.metrics.received.Add(float64(len(b)))
	c.proxy.history.received.Add(int64(len(b)))
	return b, err
}

var (
	_ tunnel.Holder    = (*countingCarrier)(nil)
	_ tunnel.Breakable = (*countingCarrier)(nil)
)

// countingCarrier is a countingConn that carries more than bytes.
type countingCarrier struct {
	countingConn
	carrier tunnel.Carrier
}

// Traits implements relay.Carrier.
func (c *countingCarrier) Traits() tunnel.Traits { return c.carrier.Traits() }

// CloseWrite implements relay.Carrier.
func (c *countingCarrier) CloseWrite() error { return c.carrier.CloseWrite() }

// Abort implements relay.Carrier.
func (c *countingCarrier) Abort() error { return c.carrier.Abort() }

// Held implements tunnel.Holder.
func (c *countingCarrier) Held() (bytes int, over bool) { return tunnel.HeldBy(c.carrier), false }

// Broken implements tunnel.Breakable.
func (c *countingCarrier) Broken() bool { return tunnel.IsBroken(c.carrier) }
