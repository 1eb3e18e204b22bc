// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"errors"
	"fmt"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/clip"
)

var (
	// ErrClosed is wrapped by the errors of a connection and its streams after Close.
	ErrClosed = errors.New("the connection was closed")
	// ErrFull is wrapped by the error of Open if the connection carries as many streams
	// as the server allows. Open works again when one of them has ended.
	ErrFull = errors.New("no more streams on this connection now")
	// ErrUsedUp is wrapped by the error of Open if the connection has used all its
	// stream numbers. Open never works again on it.
	ErrUsedUp = errors.New("no more streams on this connection for ever")
	// ErrUnprocessed is wrapped by the error of a stream that the server, by its own
	// word, has not processed.
	ErrUnprocessed = errors.New("the server did not process the stream")
	// ErrHTTP1 is wrapped by the error of a connection whose server has answered in
	// HTTP/1.x.
	ErrHTTP1 = errors.New("it speaks HTTP/1.x, and not HTTP/2")
)

// Kind says what an Error has ended.
type Kind uint8

// The kinds.
const (
	Lost     Kind = iota // the connection broke, or the server is about to end it
	Closed               // Close was called
	NoStream             // no stream could be opened: ErrFull or ErrUsedUp
	Ended                // one stream: the server has reset it, or violated HTTP/2 on it
)

// Error is the error of a stream or a connection. Its text has a maximum length, because
// the server can choose parts of it.
type Error struct {
	Kind  Kind
	text  string
	cause error // or nil
}

func failed(kind Kind, cause error, format string, args ...any) error {
	return &Error{Kind: kind, cause: cause, text: clip.Text(fmt.Sprintf(format, args...), clip.Sentence)}
}

// Error implements error.
func (e *Error) Error() string { return e.text }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// PeerReset is wrapped by the error of a stream that the server has reset. It wraps
// ErrUnprocessed if the code says so.
type PeerReset struct{ Code http2.ErrCode }

// Error implements error.
func (r PeerReset) Error() string {
	return "stream terminated by RST_STREAM with error code: " + r.Code.String()
}

// Unwrap returns ErrUnprocessed or nil.
func (r PeerReset) Unwrap() error {
	if r.Code == http2.ErrCodeRefusedStream {
		return ErrUnprocessed
	}
	return nil
}
