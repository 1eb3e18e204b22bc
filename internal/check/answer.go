// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// greetTimeout is how long a target may take that speaks first, such as SSH.
	greetTimeout = 300 * time.Millisecond
	// speakTimeout is how long a target may take to answer a TLS or HTTP request.
	speakTimeout = 2 * time.Second
)

// answer finds out what a target speaks: it listens, then begins a TLS handshake, then
// asks for the headers of an HTTP page. A target may speak anything, so that is no
// failure, whatever the result.
func (c *checker) answer(ctx context.Context, to destination) report.Step {
	step := report.Step{Name: report.StepAnswer, Target: to.addr.String(), Result: report.OK}
	way := to.ways[0]
	t, err := openTarget(ctx, way, to)
	if err != nil {
		step.Result, step.Found = report.Skipped, "the target was dialled before, and could not be again: "+clip.Text(err.Error(), clip.Clause)
		return step
	}
	began := time.Now()
	if first := t.firstBytes(c.greet); len(first) > 0 {
		_ = t.Close()
		step.Seconds = time.Since(began).Seconds()
		step.Found = fmt.Sprintf("the target speaks first, in %s, and begins %q", report.Seconds(time.Since(began)), clip.Text(string(first), clip.Words))
		return step
	}
	if t.err != nil {
		_ = t.Close()
		step.Found = "the target closes the connection without a byte"
		return step
	}
	began = time.Now()
	state, failed := t.handshake(c.speak)
	took := time.Since(began)
	_ = t.Close()
	switch {
	case failed == nil:
		return c.speaksTLS(step, state, took)
	case strings.HasPrefix(string(t.first), "HTTP/"):
		return c.speaksHTTP(ctx, step, way, to)
	case len(t.first) > 0 && t.first[0] == alertRecord:
		step.Seconds = took.Seconds()
		step.Found = fmt.Sprintf("the target speaks TLS, and ended the handshake in %s: %s", report.Seconds(took), clip.Text(failed.Error(), clip.Words))
		return step
	case len(t.first) > 0:
		step.Seconds = took.Seconds()
		step.Found = fmt.Sprintf("the target answered in %s, and speaks neither TLS nor HTTP: its answer begins %q", report.Seconds(took), clip.Text(string(t.first[:min(len(t.first), 32)]), clip.Words))
		return step
	}
	return c.speaksHTTP(ctx, step, way, to)
}

// alertRecord is the type of a TLS record with an alert (RFC 8446, section 5.1).
const alertRecord = 21

// speaksTLS completes the step about a target that speaks TLS.
func (c *checker) speaksTLS(step report.Step, state tls.ConnectionState, took time.Duration) report.Step {
	step.Seconds, step.ALPN = took.Seconds(), state.NegotiatedProtocol
	step.Certificates = describeAll(state.PeerCertificates)
	step.Found = fmt.Sprintf("the target speaks %s, handshake in %s", tls.VersionName(state.Version), report.Seconds(took))
	if len(state.PeerCertificates) == 0 {
		return step
	}
	leaf := state.PeerCertificates[0]
	step.Found += fmt.Sprintf("; its certificate %s of %s is for %s and %s (not verified: the app does that)", title(leaf), issuer(leaf), quoted(namesOf(leaf)), dates(leaf, c.now()))
	if v := validityAt(leaf, c.now()); v == expired || v == notYetValid {
		step.Result, step.Cause = report.Warning, v.cause()
		step.Next = "renew the target's certificate, if the app verifies it"
	}
	return step
}

// speaksHTTP asks the target for the headers of a page, and completes the step.
func (c *checker) speaksHTTP(ctx context.Context, step report.Step, way *path, to destination) report.Step {
	t, err := openTarget(ctx, way, to)
	if err != nil {
		step.Result, step.Found = report.Skipped, "the target was dialled before, and could not be again: "+clip.Text(err.Error(), clip.Clause)
		return step
	}
	defer t.Close()
	began := time.Now()
	_, _ = io.WriteString(t, "HEAD / HTTP/1.0\r\nHost: "+to.addr.String()+"\r\nUser-Agent: shoot-proxy-check\r\n\r\n")
	first := t.firstBytes(c.speak)
	took := time.Since(began)
	step.Seconds = took.Seconds()
	line, _, _ := strings.Cut(string(first), "\r\n")
	switch {
	case strings.HasPrefix(line, "HTTP/"):
		step.Found = fmt.Sprintf("the target speaks HTTP without TLS: first byte in %s, %q", report.Seconds(took), clip.Text(line, clip.Words))
	case len(first) > 0:
		step.Found = fmt.Sprintf("the target answered in %s, and speaks neither TLS nor HTTP: its answer begins %q", report.Seconds(took), clip.Text(line, clip.Words))
	case t.err != nil:
		step.Found = "the target accepts connections, and closes them at a TLS and at an HTTP request"
	default:
		step.Cause = report.CauseTargetSilent
		step.Found = fmt.Sprintf("the target accepts connections, and is silent: it sends nothing by itself, and answers neither a TLS nor an HTTP request within %s", report.Seconds(c.speak))
	}
	return step
}

// targetConn is a tunnelled connection as a net.Conn. It remembers the first bytes.
type targetConn struct {
	conn    tunnel.Conn
	arrived chan []byte // of the receiving goroutine
	ended   chan struct{}
	rest    []byte
	first   []byte // at most maxFirst bytes
	err     error
	until   time.Time
}

const maxFirst = 512

func openTarget(ctx context.Context, way *path, to destination) (*targetConn, *tunnel.Error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := way.dialer.DialOnce(ctx, to.addr)
	if err != nil {
		return nil, err
	}
	t := &targetConn{conn: conn, arrived: make(chan []byte), ended: make(chan struct{})}
	way.c.work.Go(t.receive)
	return t, nil
}

// receive passes on what arrives, until the connection or its reader has ended.
func (t *targetConn) receive() {
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
func (t *targetConn) Read(p []byte) (int, error) {
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
			t.first = append(t.first, more[:min(len(more), maxFirst-len(t.first))]...)
		case <-timer.C:
			return 0, errSilent
		}
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// firstBytes waits for the first bytes.
func (t *targetConn) firstBytes(limit time.Duration) []byte {
	t.until = time.Now().Add(limit)
	n, _ := t.Read(make([]byte, maxFirst))
	return t.first[:min(n, len(t.first))]
}

// handshake does a TLS handshake without verification: the certificate is only shown.
func (t *targetConn) handshake(limit time.Duration) (tls.ConnectionState, error) {
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

// Write implements net.Conn.
func (t *targetConn) Write(p []byte) (int, error) {
	if err := t.conn.Send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements net.Conn.
func (t *targetConn) Close() error {
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
func (t *targetConn) LocalAddr() net.Addr { return nil }

// RemoteAddr implements net.Conn.
func (t *targetConn) RemoteAddr() net.Addr { return nil }

// SetDeadline implements net.Conn.
func (t *targetConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (t *targetConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (t *targetConn) SetWriteDeadline(time.Time) error { return nil }
