// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"net/netip"
)

// Early is what an app sends while the dial of its target goes on. A dial may send it right
// behind its request. Then the target's first answer comes a round trip earlier.
//
// The dialling goroutine calls all methods.
type Early interface {
	// Begin calls send with the first bytes of the app: at once if they are there, and
	// otherwise when they come, from another goroutine. send reports whether it has sent
	// all of them. It must not wait, and must not keep them.
	Begin(send func(p []byte) bool)
	// End ends what Begin has begun. It waits for a call of send.
	End()
	// Sent returns how many bytes a send has sent: the target may have them, and no other
	// dial may send them.
	Sent() int
	// TakeBack notes that the target cannot have what was sent.
	TakeBack()
}

// EarlyDialer is a Dialer whose way to a target may carry bytes behind a request.
type EarlyDialer interface {
	Dialer
	// DialEarly is DialContext with what an app sends meanwhile. The caller must not send
	// the first Sent bytes of early again.
	DialEarly(ctx context.Context, dst netip.AddrPort, hold Hold, early Early) (Conn, error)
}
