// SPDX-License-Identifier: Apache-2.0

// Package targetconn has a tunnelled connection as a net.Conn that remembers how its peer
// begins to speak.
//
// It does not know what the bytes mean, except for the certificates of a TLS handshake.
package targetconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Conn is a tunnelled connection as a net.Conn. It remembers the first bytes.
type Conn struct {
	conn    tunnel.Conn
	arrived chan []byte // of the receiving goroutine
	ended   chan struct{}
	rest    []byte
	begins  []byte // at most maxFirst bytes
	err     error
	until   time.Time
}

const maxFirst = 512

// New returns conn as a net.Conn. run runs a goroutine that ends after the Conn was closed.
func New(conn tunnel.Conn, run func(func())) *Conn {
	t := &Conn{conn: conn, arrived: make(chan []byte), ended: make(chan struct{})}
	run(t.receive)
	return t
}

// receive passes on what arrives, until the connection or its reader has ended.
func (t *Conn) receive() {
	defer close(t.arrived)
	for {
		p, err := t.conn.Receive()
		if err != nil {
			return
		}
		select {
		case t.arrived <- append([]byte(nil), p...):
		case <-t.ended:
			return
		}
	}
}

// errSilent is the error of a read whose time is over.
var errSilent = errors.New("no answer in time")

// Read implements net.Conn.
func (t *Conn) Read(p []byte) (int, error) {
	if len(t.rest) == 0 {
		if t.err != nil {
			return 0, t.err
		}
		timer := time.NewTimer(time.Until(t.until))
		defer timer.Stop()
		select {
		case more, ok := <-t.arrived:
			if !ok {
				t.err = io.EOF
				return 0, t.err
			}
			t.rest = more
			t.begins = append(t.begins, more[:min(len(more), maxFirst-len(t.begins))]...)
		case <-timer.C:
			return 0, errSilent
		}
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// First waits for the first bytes.
func (t *Conn) First(limit time.Duration) []byte {
	t.until = time.Now().Add(limit)
	n, _ := t.Read(make([]byte, maxFirst))
	return t.begins[:min(n, len(t.begins))]
}

// Handshake does a TLS handshake without verification: the certificate is only shown.
func (t *Conn) Handshake(limit time.Duration) (tls.ConnectionState, error) {
	t.until = time.Now().Add(limit)
	conn := tls.Client(t, &tls.Config{
		InsecureSkipVerify: true, // nothing is sent on this connection; the app verifies its own
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2", "http/1.1"},
		VerifyPeerCertificate: func(chain [][]byte, _ [][]*x509.Certificate) error {
			const most = 64 << 10
			if size := sizeOf(chain); size > most {
				return fmt.Errorf("its certificates have %d bytes", size)
			}
			return nil
		},
	})
	err := conn.Handshake()
	return conn.ConnectionState(), err
}

func sizeOf(chain [][]byte) (size int) {
	for _, c := range chain {
		size += len(c)
	}
	return size
}

// Begins returns the first bytes that have been read.
func (t *Conn) Begins() []byte { return t.begins }

// Ended reports whether the peer has ended the connection, as far as it was read.
func (t *Conn) Ended() bool { return t.err != nil }

// Write implements net.Conn.
func (t *Conn) Write(p []byte) (int, error) {
	if err := t.conn.Send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements net.Conn.
func (t *Conn) Close() error {
	select {
	case <-t.ended:
		return nil
	default:
		close(t.ended)
	}
	return t.conn.Close()
}

// The rest of net.Conn. Reads have a time limit of their own.

// LocalAddr implements net.Conn.
func (t *Conn) LocalAddr() net.Addr { return nil }

// RemoteAddr implements net.Conn.
func (t *Conn) RemoteAddr() net.Addr { return nil }

// SetDeadline implements net.Conn.
func (t *Conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (t *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (t *Conn) SetWriteDeadline(time.Time) error { return nil }
