// SPDX-License-Identifier: Apache-2.0

package spare

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// partTimeout bounds the wait for the server's end of a connection that is not used any
// more.
const partTimeout = 2 * time.Second

// Owner is the endpoint to which a Pool connects.
type Owner interface {
	// Connect connects to the endpoint and does the handshake. It returns the protocol
	// that ALPN chose.
	Connect(ctx context.Context) (net.Conn, string, *tunnel.Error)
	// Gone ends when the server's name does not resolve to the address any more.
	Gone() context.Context
}

// Shared is what the Pools of a process share.
type Shared struct {
	Background *sync.WaitGroup // counts work that goes on after a Close
	Life       context.Context // ends when the process is about to end
	Files      func() int      // returns the version of the TLS files
	Most       int             // spare connections of an endpoint, at most
}

// Part ends a connection in the background. Nothing is awaited on it any more. It lets
// the server end the connection first.
func (s *Shared) Part(conn net.Conn) {
	if s.Life.Err() != nil { // the process is about to end, and does not wait
		_ = conn.Close()
		return
	}
	s.Background.Go(func() {
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(partTimeout))
		defer serverconn.EndWriting(conn)()
		_, _ = io.Copy(io.Discard, conn)
	})
}
