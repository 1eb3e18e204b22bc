// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// markerPort is a UDP port of the neighbours on which no program listens. A datagram to it
// marks a moment in a capture.
const markerPort = 9

// captureBuffer holds what arrives between two reads, in bytes.
const captureBuffer = 32 << 20

// Capture sees every IP packet that enters or leaves through one link, from the moment it
// is opened, as tcpdump does.
type Capture struct {
	host   *Namespace
	marker netip.Addr // a neighbour on the link
	fd     int
}

// Packet has the fields of an IP packet's header that tests need.
type Packet struct {
	Src, Dst netip.Addr
	Protocol uint8 // of IPv4, or the first next header of IPv6
	DstPort  uint16
}

// CapturePod opens a capture on the interface through which the client's pod reaches the
// seed.
func (l *Lab) CapturePod() (*Capture, error) {
	return l.Pod.capture("eth0", SeedAddress(l.podFamily()))
}

// capture opens a capture on a device. It finds its end by datagrams to a neighbour on
// that link.
func (n *Namespace) capture(device string, neighbour netip.Addr) (*Capture, error) {
	c := &Capture{host: n, marker: neighbour, fd: -1}
	err := n.Do(func() (err error) {
		link, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		return errors.Join(
			unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer),
			unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
			unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: link.Index}),
		)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("capture on %s of %s: %w", device, n.Name, err), c.Close())
	}
	return c, nil
}

// Packets returns all packets since the last call up to now. It finds "now" by a datagram
// of its own, which it waits for and leaves out. It fails if the kernel had to drop a
// packet.
func (c *Capture) Packets(ctx context.Context) ([]Packet, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	marker := net.JoinHostPort(c.marker.String(), fmt.Sprint(markerPort))
	conn, err := c.host.DialContext(ctx, "udp", marker)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("marker")); err != nil {
		return nil, err
	}
	var packets []Packet
	buffer := make([]byte, 128)
	for ctx.Err() == nil {
		n, _, err := unix.Recvfrom(c.fd, buffer, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the capture: %w", err)
		}
		packet, ok := parsePacket(buffer[:n])
		if !ok {
			continue // ARP
		}
		if packet.Dst == c.marker && packet.Protocol == unix.IPPROTO_UDP && packet.DstPort == markerPort {
			return packets, c.lost()
		}
		packets = append(packets, packet)
	}
	return nil, fmt.Errorf("the capture never saw its marker to %s: %w", marker, ctx.Err())
}

func (c *Capture) lost() error {
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return fmt.Errorf("the capture's statistics: %w", err)
	}
	if stats.Drops != 0 {
		return fmt.Errorf("the capture lost %d packets", stats.Drops)
	}
	return nil
}

// Close ends the capture. It may be called more than once.
func (c *Capture) Close() error {
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return unix.Close(fd)
}

func parsePacket(b []byte) (Packet, bool) {
	if len(b) < 1 {
		return Packet{}, false
	}
	var p Packet
	var payload []byte
	switch {
	case b[0]>>4 == 4 && len(b) >= 20:
		p.Src, p.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		p.Protocol, payload = b[9], b[min(len(b), int(b[0]&15)*4):]
	case b[0]>>4 == 6 && len(b) >= 40:
		p.Src, p.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		p.Protocol, payload = b[6], b[40:]
	default:
		return Packet{}, false
	}
	if (p.Protocol == unix.IPPROTO_UDP || p.Protocol == unix.IPPROTO_TCP) && len(payload) >= 4 {
		p.DstPort = binary.BigEndian.Uint16(payload[2:4])
	}
	return p, true
}

// bigEndian converts as C's htons does.
func bigEndian(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// ForShoot reports whether a packet goes to an address of the shoot's CIDRs.
func (p Packet) ForShoot() bool {
	for _, f := range DualStack.Each() {
		for _, cidr := range []string{PodCIDR(f), ServiceCIDR(f), NodeCIDR(f)} {
			if netip.MustParsePrefix(cidr).Contains(p.Dst) {
				return true
			}
		}
	}
	return false
}

// ForShoot returns the packets that go to the shoot's addresses.
func ForShoot(packets []Packet) []Packet {
	var shoot []Packet
	for _, p := range packets {
		if p.ForShoot() {
			shoot = append(shoot, p)
		}
	}
	return shoot
}
