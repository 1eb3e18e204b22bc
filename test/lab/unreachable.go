// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Unreachable is the control experiment. It returns nil if a plain connection from the
// client's pod to a target in the shoot fails. If it succeeds, Unreachable returns an
// error, because then nothing in the lab proves a tunnel.
func (l *Lab) Unreachable(ctx context.Context, addr netip.Addr, port int) error {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	conn, err := l.Pod.DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), strconv.Itoa(port)))
	if err != nil {
		return nil
	}
	defer conn.Close()
	return fmt.Errorf("%s connected to %s without a tunnel", conn.LocalAddr(), conn.RemoteAddr())
}
