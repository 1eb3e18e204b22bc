// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// serveUDP starts a server of a user in a host, which runs until the lab ends. answer
// returns the answer to a datagram, or nil for none.
func (r *rig) serveUDP(t *testing.T, host *lab.Namespace, user owner, at string, answer func(datagram []byte) []byte) {
	t.Helper()
	var socket net.PacketConn
	err := host.Do(func() (err error) {
		if err := become(user); err != nil {
			return err
		}
		socket, err = net.ListenPacket("udp", at)
		return errors.Join(err, become(owner{}))
	})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for buffer := make([]byte, 4096); ; {
			n, from, err := socket.ReadFrom(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // an ICMP error about an earlier answer
			}
			if text := answer(buffer[:n]); text != nil {
				_, _ = socket.WriteTo(text, from)
			}
		}
	})
	r.OnClose(func() error {
		err := socket.Close()
		serving.Wait()
		return err
	})
}
