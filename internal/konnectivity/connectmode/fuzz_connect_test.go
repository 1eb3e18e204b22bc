// SPDX-License-Identifier: Apache-2.0

package connectmode

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/spare"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/tunnel/tunneltest"
)

// newModelConnect returns a connection in http-connect mode on conn, before its dial.
// The Unix socket at socket says whether the server is there.
func newModelConnect(conn net.Conn, socket string) *connection {
	to := serverconn.NewConnector(nil, tunnel.SettingNames{}, 0).Endpoint(tunnel.Server{Name: "model", Network: tunnel.NetworkUnix, Address: socket}, netip.AddrPort{})
	owner := &modelConnectOwner{to: to}
	owner.load.Add(1) // for the dial, as claim does
	e := New(to, owner, &spare.Shared{Background: new(sync.WaitGroup), Life: context.Background(), Files: func() int { return 0 }})
	return newConnection(e, e.NewConn(conn))
}

// modelConnectOwner is an endpoint that has nothing but a load.
type modelConnectOwner struct {
	to   *serverconn.Endpoint
	load atomic.Int64
}

func (o *modelConnectOwner) Connect(ctx context.Context) (net.Conn, string, *tunnel.Error) {
	return o.to.Connect(ctx, nil, false)
}
func (*modelConnectOwner) Gone() context.Context { return context.Background() }
func (*modelConnectOwner) Several() bool         { return false }
func (o *modelConnectOwner) ConnectionEnded()    { o.load.Add(-1) }

// lastWord is the way in which a scripted server ends its bytes.
type lastWord byte

const (
	lastNotify lastWord = iota // close_notify
	lastFIN                    // no close_notify, and the server is gone
	lastHasty                  // no close_notify, and the server is still there
	lastReset
	lastNothing // no end at all
	lastWords
)

// cutConn is a connection whose peer's bytes arrive in cuts, and end with last.
type cutConn struct {
	net.Conn
	last     lastWord
	together bool // the end arrives with the last bytes, which crypto/tls allows
	left     int  // bytes of the peer still to come
	taken    atomic.Int64
	closed   atomic.Bool
	said     atomic.Bool // CloseWrite was called
}

// Read implements net.Conn.
func (c *cutConn) Read(p []byte) (int, error) {
	if c.left == 0 && c.last != lastNothing {
		return 0, c.end()
	}
	n, err := c.Conn.Read(p)
	c.left -= n
	c.taken.Add(int64(n))
	if c.together && c.left == 0 && n > 0 && c.last != lastNothing {
		return n, c.end()
	}
	return n, err
}

func (c *cutConn) end() error {
	switch c.last {
	case lastNotify:
		return io.EOF
	case lastReset:
		return &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	default:
		return serverconn.ErrNoCloseNotify
	}
}

// Close implements net.Conn.
func (c *cutConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

// CloseWrite implements the method that EndWriting calls.
func (c *cutConn) CloseWrite() error {
	c.said.Store(true)
	return nil
}

// answerTo is the right result of a CONNECT, for all bytes of the server.
type answerTo struct {
	reasons []tunnel.Reason // of a dial that fails
	data    string          // of a dial that succeeds, the target's bytes
	verdict string          // how the connection ends; unless it is io.EOF, the last bytes may be missing
}

var (
	statusLine = regexp.MustCompile(`^HTTP/1\.[0-9] ([2-9][0-9]{2})(?:[ \r]|$)`)
	// statusBegin is how a standard proxy begins, which may speak another HTTP/1.x.
	statusBegin = regexp.MustCompile(`^HTTP/1\.(1 |[0-9] [0-9]{3})`)
)

// mayBecomeStatus reports whether further bytes may make said begin like statusBegin.
func mayBecomeStatus(said string) bool {
	for minor := range 10 {
		if whole := fmt.Sprintf("HTTP/1.%d 000", minor); len(said) < len(whole) && statusBegin.MatchString(said+whole[len(said):]) {
			return true
		}
	}
	return false
}

// reference returns the right result for all bytes of a server, without knowing the
// cuts.
func reference(said string, last lastWord) answerTo {
	switch {
	case said == "" && last == lastNotify:
		return answerTo{reasons: []tunnel.Reason{tunnel.ReasonProtocol}}
	case said == "" && last != lastNothing:
		return answerTo{reasons: []tunnel.Reason{tunnel.ReasonServerUnreachable}}
	case last == lastNothing && (strings.HasPrefix(statusPrefix, said) || !strings.HasPrefix(said, statusPrefix) && mayBecomeStatus(said)):
		return answerTo{reasons: []tunnel.Reason{tunnel.ReasonTimeout}}
	case statusBegin.MatchString(said):
		return referenceAnswer(said, last)
	}
	before, after, found := strings.Cut(said, establishedLine)
	a := answerTo{data: before + after, verdict: verdictOf(last, before+after)}
	if !found && len(said) > maxAhead+len(establishedLine) {
		a.verdict = "protocol"
	}
	return a
}

// referenceAnswer is reference for a server that speaks first.
func referenceAnswer(said string, last lastWord) answerTo {
	head, rest, found := strings.Cut(said, headEnd)
	status := statusLine.FindStringSubmatch(head)
	switch {
	case !found && len(said) <= maxHead && last == lastNothing:
		return answerTo{reasons: []tunnel.Reason{tunnel.ReasonTimeout}}
	case !found, len(head) > maxHead, status == nil:
		return answerTo{reasons: []tunnel.Reason{tunnel.ReasonProtocol}}
	case status[1][0] == '2':
		return answerTo{data: rest, verdict: verdictOf(last, rest)}
	}
	code, _ := strconv.Atoi(status[1])
	text, _ := refusal([]byte(said), []byte(rest))
	refused := newModelConnect(nil, "").refused(code, text)
	if len(said) > maxHead {
		return answerTo{reasons: []tunnel.Reason{tunnel.ReasonProtocol, refused.Reason}}
	}
	return answerTo{reasons: []tunnel.Reason{refused.Reason}}
}

func verdictOf(last lastWord, data string) string {
	switch last {
	case lastNotify:
		return "end"
	case lastHasty:
		if data == "" {
			return "broken" // the server may have been killed before the first byte
		}
		return "end"
	case lastNothing:
		return "closed"
	default:
		return "broken"
	}
}

// liveServer returns the path of a Unix socket with a listener.
func liveServer(f *testing.F) string {
	socket := filepath.Join(f.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		f.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			_ = conn.Close()
		}
	})
	f.Cleanup(func() {
		_ = l.Close()
		accepting.Wait()
	})
	return socket
}

// FuzzConnect has a server that sends any bytes in any cuts, and ends in any way. The
// app gets the target's bytes and the right end, or the dial fails with its reason. The
// number of bytes that are read before that is known is bounded.
func FuzzConnect(f *testing.F) {
	const refused = "502 Bad Gateway\r\n\r\ndial tcp: connect: connection refused"
	for last := range lastWords {
		f.Add(byte(0), byte(last), "SSH-2.0-x\r\n", "more", []byte{1})
		f.Add(byte(1), byte(last), "SSH-2.0-x\r\n", "more", []byte{200, 3})
		f.Add(byte(2), byte(last), "SSH-2.0-x\r\n", "more", []byte{2, 40, 1})
		f.Add(byte(3), byte(last), refused, "more", []byte{7})
		f.Add(byte(3), byte(last), "100 Continue\r\n\r\n", establishedLine, []byte{7})
		f.Add(byte(4), byte(last), "200 OK\r\nA: b\r\n", "x", []byte{255})
		f.Add(byte(5), byte(last), "0123456789abcdef", "x", []byte{255})
		f.Add(byte(2), byte(last), "HTTP/1.1", "HTTP/1.1 200 Connection", []byte{9, 10})
		f.Add(byte(0), byte(last), "", "", []byte{})
		f.Add(byte(0), byte(last), "HT", "", []byte{})
		f.Add(byte(0), byte(last), "HTTP/1.1 2", "", []byte{})
		f.Add(byte(0), byte(last), "HTTP/1.0 200 Connection Established\r\nProxy-agent: Apache\r\n\r\n", "x", []byte{3, 9})
		f.Add(byte(0), byte(last), "HTTP/1.0 20", "", []byte{3})
		f.Add(byte(3), byte(last), "503 Service Unavailable\r\nContent-Length: 3\r\n\r\nconnection refused", "", []byte{7})
	}
	live, dead := liveServer(f), filepath.Join(f.TempDir(), "nobody")
	f.Fuzz(func(t *testing.T, kind, end byte, first, rest string, cuts []byte) {
		if len(first)+len(rest) > 4096 || len(cuts) > 64 {
			return
		}
		said := compose(kind, first, rest)
		last := lastWord(end) % lastWords
		socket := dead
		if last == lastHasty {
			socket = live
		}
		synctest.Test(t, func(t *testing.T) {
			x := exchange{t: t, said: said, last: last, cuts: cuts, want: reference(said, last)}
			x.conn = &cutConn{last: last, left: len(said), together: end >= 128}
			x.run(socket)
			if t.Failed() {
				t.Logf("the server said %d bytes %.200q and then %d, in cuts of %v", len(said), said, last, cuts)
			}
		})
	})
}

// compose returns the bytes of the server.
func compose(kind byte, first, rest string) string {
	switch kind % 6 {
	case 0:
		return first + rest
	case 1:
		return establishedLine + first + rest
	case 2:
		return first + establishedLine + rest
	case 3:
		return statusPrefix + first + headEnd + rest
	case 4: // many headers, or a head without an end
		return statusPrefix + strings.Repeat(first, maxHead/max(1, len(first))) + headEnd + rest
	default: // so many bytes ahead that the line does not count any more, or just does
		return strings.Repeat(first, maxAhead/max(1, len(first))) + establishedLine + rest
	}
}

// exchange is one CONNECT.
type exchange struct {
	t    *testing.T
	said string
	last lastWord
	cuts []byte
	want answerTo
	conn *cutConn
}

// run dials and receives until the end.
func (x *exchange) run(socket string) {
	near, far := net.Pipe()
	x.conn.Conn = near
	var peer sync.WaitGroup
	peer.Go(func() { _, _ = io.Copy(io.Discard, far) }) // reads what the client sends
	peer.Go(func() { x.speak(far) })
	c := newModelConnect(x.conn, socket)
	ctx, cancel := context.WithTimeout(x.t.Context(), dialBudget)
	err := c.dial(ctx, target, nil)
	cancel()
	if err != nil {
		if taken := x.conn.taken.Load(); err.Reason != tunnel.ReasonTimeout && taken > maxHead+serverconn.MaxPiece {
			x.t.Errorf("read %d bytes to find out that the dial failed", taken)
		}
		if !slices.Contains(x.want.reasons, err.Reason) {
			x.t.Errorf("the dial failed with reason %s (%v), want %+.100v", err.Reason, err, x.want)
		}
	} else {
		x.receive(c)
	}
	c.dialer.shared.Background.Wait()
	if !x.conn.closed.Load() {
		x.t.Error("the connection to the server was never closed")
	}
	_ = far.Close()
	peer.Wait()
}

// speak sends the bytes of the server.
func (x *exchange) speak(conn net.Conn) {
	for i, p := 0, []byte(x.said); len(p) > 0; i++ {
		n := 64 << 10
		if i < len(x.cuts) {
			n = int(x.cuts[i]) + 1
		}
		n = min(n, len(p))
		if _, err := conn.Write(p[:n]); err != nil {
			return
		}
		p = p[n:]
	}
}

// receive compares the bytes that the app gets.
func (x *exchange) receive(c *connection) {
	if x.want.reasons != nil {
		x.t.Errorf("the dial succeeded, want reason %v", x.want.reasons)
	}
	if x.last == lastNothing {
		// A Receive that waits must end when the app closes.
		time.AfterFunc(time.Minute, func() { _ = c.Close() })
	}
	var got bytes.Buffer
	var verdict string
	for verdict == "" {
		p, err := c.Receive()
		if err != nil {
			verdict = tunneltest.Words(err)
		} else if len(p) == 0 {
			x.t.Error("Receive returned no bytes and no error")
		}
		got.Write(p)
		clear(p)
	}
	_ = c.Close()
	if _, err := c.Receive(); tunneltest.Words(err) != verdict {
		x.t.Errorf("Receive returned %s, and then %v", verdict, err)
	}
	if verdict != x.want.verdict {
		x.t.Errorf("the connection ended as %s, want %s", verdict, x.want.verdict)
	}
	missing := len(x.want.data) - got.Len()
	switch {
	case !strings.HasPrefix(x.want.data, got.String()):
		x.t.Errorf("the app got %.100q, want %.100q", got.String(), x.want.data)
	case verdict == "end" && missing > 0, verdict != "protocol" && missing >= len(establishedLine):
		x.t.Errorf("%d bytes are missing", missing)
	}
	c.dialer.shared.Background.Wait()
	if !x.conn.said.Load() {
		x.t.Error("the server was not told that nothing will follow")
	}
	if n := c.dialer.owner.(*modelConnectOwner).load.Load(); n != 0 {
		x.t.Errorf("%d active connections are left", n)
	}
}
