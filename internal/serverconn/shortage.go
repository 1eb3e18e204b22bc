// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Shortage returns the error of a connect for which this process lacked a file, memory or
// a port. That says nothing about the server. Shortage returns nil for any other err.
func (c *Connector) Shortage(server tunnel.Server, err error) *tunnel.Error {
	short := &tunnel.Error{Reason: tunnel.ReasonMaxConnections, Server: server.Name, Fault: tunnel.FaultProcess}
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		short.Err = fmt.Errorf("no file left to connect to it: %w; raise the container's limit of open files, or lower %s", err, c.names.MaxConnections)
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
		short.Err = fmt.Errorf("no memory left in the kernel to connect to it: %w; raise the container's memory limit, or lower %s", err, c.names.MaxConnections)
	case server.Network != tunnel.NetworkUnix && (errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAGAIN)):
		// connect(2) names both for a lack of ports. A port may be taken for one address
		// of a server and free for another. For a Unix socket, EAGAIN means that the
		// server's queue is full.
		short.Reason, short.Fault = tunnel.ReasonNoPort, tunnel.FaultPort
		short.Err = fmt.Errorf("no local port left to connect to it: %w; widen net.ipv4.ip_local_port_range in the pod, "+
			"use %s, which shares one connection, or give the server several addresses", err, c.names.ModeIs(tunnel.ModeGRPC))
	default:
		return nil
	}
	return short
}

// withoutPortErrno returns err without its errno if the errno means that the pod has no
// address of to's family. connect(2) has one errno for that and for the lack of a port:
// EADDRNOTAVAIL.
func withoutPortErrno(to netip.AddrPort, err error) error {
	if !errors.Is(err, unix.EADDRNOTAVAIL) {
		return err
	}
	// UDP has ports of its own. To connect a UDP socket the kernel looks for a route and
	// a source address, and sends nothing.
	conn, udp := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if udp == nil {
		_ = conn.Close()
		return err
	}
	if !errors.Is(udp, unix.EADDRNOTAVAIL) {
		return err
	}
	return errors.New(err.Error() + ": the pod has no address from which it can be reached")
}
