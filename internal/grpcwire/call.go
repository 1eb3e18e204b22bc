// SPDX-License-Identifier: Apache-2.0

package grpcwire

import "context"

// Call calls the method at path without sending a message. It returns how the server
// has ended the call: a gRPC status, or io.EOF if the status is OK. If ctx ends first,
// Call cancels the call and returns the cause. Messages of the server are dropped.
func (c *Conn) Call(ctx context.Context, path string) error {
	end := make(callEnd, 1)
	// The headers already end our side. Otherwise a server that answers before it gets
	// our END_STREAM would see a reset.
	s, err := c.open(c.cfg.request(path), end, true)
	if err != nil {
		return err
	}
	c.wire.Flush()
	select {
	case err := <-end:
		return err
	case <-ctx.Done():
		s.Cancel()
		return context.Cause(ctx)
	}
}

// callEnd is the Handler of a Call. It delivers the end.
type callEnd chan error

// Message implements Handler.
func (callEnd) Message([]byte) {}

// Arrived implements Handler.
func (callEnd) Arrived() {}

// End implements Handler.
func (e callEnd) End(err error) { e <- err }
