// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"errors"
	"io"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
)

// bareEnd is a connection that ends without close_notify.
type bareEnd struct{ singlePipe }

// Read implements net.Conn.
func (c bareEnd) Read(p []byte) (int, error) {
	n, err := c.singlePipe.Read(p)
	if errors.Is(err, io.EOF) {
		err = serverconn.ErrNoCloseNotify
	}
	return n, err
}
