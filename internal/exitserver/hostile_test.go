// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// rawClient is a client that sends what a test wants.
type rawClient struct {
	conn   *tls.Conn
	framer *http2.Framer
	ended  chan http2.ErrCode // the code of GOAWAY, or noGoAway, once
}

// noGoAway is the end of a connection without GOAWAY.
const noGoAway http2.ErrCode = 1 << 31

// raw returns a client that has sent its preface. It reads what arrives and throws it away.
func (e *testExit) raw(t testing.TB, commonName string) *rawClient {
	t.Helper()
	r := e.rawEarly(t, commonName)
	_ = r.framer.WriteSettingsAck() // fails if the exit has closed the connection
	var reading sync.WaitGroup
	reading.Go(r.read)
	t.Cleanup(func() { _ = r.conn.Close(); reading.Wait() })
	return r
}

// rawEarly is raw for a client that does not say that it knows the exit's SETTINGS. It reads
// nothing.
func (e *testExit) rawEarly(t testing.TB, commonName string) *rawClient {
	t.Helper()
	conn, err := tls.Dial("tcp", e.address, e.clientTLS(e.certificate(t, commonName)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r := &rawClient{conn: conn, framer: http2.NewFramer(conn, conn), ended: make(chan http2.ErrCode, 1)}
	r.framer.AllowIllegalWrites = true
	_, _ = io.WriteString(conn, http2.ClientPreface) // fails if the exit has closed the connection
	_ = r.framer.WriteSettings()
	return r
}

func (r *rawClient) read() {
	code := noGoAway
	for {
		frame, err := r.framer.ReadFrame()
		if err != nil {
			r.ended <- code
			return
		}
		if f, ok := frame.(*http2.GoAwayFrame); ok {
			code = f.ErrCode
		}
	}
}

// connectBlock is the header of a CONNECT, as literals without indexing (RFC 7541 6.2.2).
func connectBlock(target string) []byte {
	block := append([]byte{0x02, 7}, "CONNECT"...) // name 2 of the static table is :method
	return append(append(block, 0x01, byte(len(target))), target...)
}

// headers sends a header that is complete.
func (r *rawClient) headers(id uint32, block []byte) error {
	return r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true})
}

// TestFloods: each kind of flood ends its own connection and is counted. A client beside
// notices nothing.
func TestFloods(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, func(c *Config) { c.Limits.ClientStreams = 100 })
	target := listenEcho(t)
	good := open(t, e.connect(t, "app"), target)
	good.echo(t, "before")
	const most = 1 << 20 // frames that a flood sends if it is not stopped
	for _, flood := range []struct {
		name string
		send func(r *rawClient, i int) error
		want []http2.ErrCode
	}{
		{"PING", func(r *rawClient, _ int) error { return r.framer.WritePing(false, [8]byte{}) }, []http2.ErrCode{http2.ErrCodeEnhanceYourCalm}},
		{"SETTINGS", func(r *rawClient, _ int) error { return r.framer.WriteSettings() }, []http2.ErrCode{http2.ErrCodeEnhanceYourCalm}},
		{"PRIORITY", func(r *rawClient, i int) error { return r.framer.WritePriority(1, http2.PriorityParam{StreamDep: 3}) }, []http2.ErrCode{http2.ErrCodeEnhanceYourCalm}},
		{"unknown frames", func(r *rawClient, _ int) error { return r.framer.WriteRawFrame(0xee, 0, 1, []byte("x")) }, []http2.ErrCode{http2.ErrCodeEnhanceYourCalm}},
		{"rapid reset", func(r *rawClient, i int) error {
			id := uint32(2*i + 1)
			if err := r.headers(id, connectBlock("127.0.0.1:1")); err != nil {
				return err
			}
			return r.framer.WriteRSTStream(id, http2.ErrCodeCancel)
		}, []http2.ErrCode{http2.ErrCodeEnhanceYourCalm}},
		{"streams beyond the limit", func(r *rawClient, i int) error {
			return r.headers(uint32(2*i+1), connectBlock("silent.test:1"))
		}, []http2.ErrCode{http2.ErrCodeEnhanceYourCalm}},
		{"malformed streams", func(r *rawClient, i int) error {
			return r.headers(uint32(2*i+1), connectBlock("127.0.0.1:1\x00"))
		}, []http2.ErrCode{http2.ErrCodeEnhanceYourCalm}},
		{"CONTINUATION", func(r *rawClient, i int) error {
			if i == 0 {
				return r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: connectBlock("127.0.0.1:1")})
			}
			return r.framer.WriteContinuation(1, false, bytes.Repeat([]byte{0x00, 0x01, 'a', 0x01, 'b'}, 100))
		}, []http2.ErrCode{http2.ErrCodeProtocol, http2.ErrCodeCompression, http2.ErrCodeEnhanceYourCalm}},
		{"empty CONTINUATION", func(r *rawClient, i int) error {
			if i == 0 {
				return r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: connectBlock("127.0.0.1:1")})
			}
			return r.framer.WriteContinuation(1, false, nil)
		}, []http2.ErrCode{http2.ErrCodeProtocol, http2.ErrCodeEnhanceYourCalm}},
		{"empty DATA", func(r *rawClient, i int) error {
			if i == 0 {
				return r.headers(1, connectBlock(target))
			}
			return r.framer.WriteData(1, false, nil)
		}, []http2.ErrCode{http2.ErrCodeEnhanceYourCalm}},
		{"a window too large", func(r *rawClient, i int) error { return r.framer.WriteWindowUpdate(0, 1<<31-1) }, []http2.ErrCode{http2.ErrCodeFlowControl}},
		{"frames of streams that were not begun", func(r *rawClient, i int) error { return r.framer.WriteData(99, false, []byte("x")) }, []http2.ErrCode{http2.ErrCodeProtocol}},
		{"a frame too large", func(r *rawClient, i int) error {
			return r.framer.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 1<<15))
		}, []http2.ErrCode{http2.ErrCodeFrameSize}},
		{"a stream with an even number", func(r *rawClient, i int) error { return r.headers(2, connectBlock(target)) }, []http2.ErrCode{http2.ErrCodeProtocol}},
		{"PUSH_PROMISE", func(r *rawClient, i int) error {
			return r.framer.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: connectBlock(target), EndHeaders: true})
		}, []http2.ErrCode{http2.ErrCodeProtocol}},
	} {
		faults := e.metric(t, "proxy_exit_protocol_errors_total")
		r := e.raw(t, "app")
		sent := 0
		for ; sent < most; sent++ {
			if flood.send(r, sent) != nil {
				break
			}
			if sent%1000 == 0 {
				good.echo(t, flood.name)
			}
		}
		if sent == most {
			t.Errorf("%s: the exit has read %d of them", flood.name, sent)
		}
		code := waittest.Await(t, r.ended, "the end of "+flood.name)
		found := code == noGoAway // a reset of TCP may overtake GOAWAY
		for _, want := range flood.want {
			found = found || code == want
		}
		if !found {
			t.Errorf("%s: the connection ended with %v, want %v", flood.name, code, flood.want)
		}
		waittest.Eventually(t, "the count of "+flood.name, func() bool { return e.metric(t, "proxy_exit_protocol_errors_total") == faults+1 })
		good.echo(t, "after "+flood.name)
	}
	waittest.Eventually(t, "the end of the streams", func() bool { return e.metric(t, "proxy_exit_streams_active") == 1 })
}

// TestAnswersThatAreNotRead: a client that asks and never reads the answers is ended.
func TestAnswersThatAreNotRead(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, nil)
	conn, err := tls.Dial("tcp", e.address, e.clientTLS(e.certificate(t, "app")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	framer := http2.NewFramer(conn, conn)
	_, _ = io.WriteString(conn, http2.ClientPreface)
	_ = framer.WriteSettings()
	for i := 0; ; i++ {
		if i > 1<<22 {
			t.Fatal("the exit goes on")
		}
		if err := framer.WritePing(false, [8]byte{}); err != nil {
			break
		}
	}
	waittest.Eventually(t, "the count", func() bool { return e.metric(t, "proxy_exit_protocol_errors_total") == 1 })
}

// TestManyStreams: 10,000 streams of one client are open, one more than allowed is refused,
// and all are gone after the client's connection is. Most of them are being dialled, since
// a process may not have as many files as both ends of each need.
func TestManyStreams(t *testing.T) {
	t.Parallel()
	const many, connected = 10_000, 400
	var accepted atomic.Int64
	target := listen(t, func(conn *net.TCPConn) {
		accepted.Add(1)
		defer conn.Close()
		_, _ = io.Copy(io.Discard, conn)
	})
	e := newExit(t, allowLoopback, func(c *Config) { c.Limits.ClientStreams, c.DialTimeout = many, waittest.Limit })
	r := e.raw(t, "app")
	for i := range many {
		block := connectBlock("silent.test:1")
		if i < connected {
			block = connectBlock(target)
		}
		if err := r.headers(uint32(2*i+1), block); err != nil {
			t.Fatal(err)
		}
	}
	waittest.Eventually(t, "all streams", func() bool {
		return testutil.ToFloat64(e.Metrics.streamsActive) == many && accepted.Load() == connected
	})
	second := e.connect(t, "app")
	refused := open(t, second, target)
	if refused.StatusCode != 503 || refused.Header.Get("Proxy-Status") != `proxy-exit; error=connection_limit_reached; details="the client has as many streams as one client may have"` {
		t.Errorf("one more has status %d, %v", refused.StatusCode, refused.Header)
	}
	_ = r.conn.Close()
	waittest.Eventually(t, "the end of all streams", func() bool { return testutil.ToFloat64(e.Metrics.streamsActive) == 0 })
	if u := open(t, second, listenEcho(t)); u.StatusCode != 200 {
		t.Errorf("after that a stream has status %d", u.StatusCode)
	}
}

// TestSlowHandshakes: connections that send nothing, half of a handshake, or another
// protocol hold no place that a client needs.
func TestSlowHandshakes(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, func(c *Config) { c.HandshakeTimeout = time.Hour })
	var strangers []net.Conn
	for i := range maxHandshakes + 10 {
		conn, err := net.Dial("tcp", e.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		strangers = append(strangers, conn)
		if i%2 == 0 {
			_, _ = conn.Write([]byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01}) // a ClientHello's beginning
		}
	}
	if u := open(t, e.connect(t, "app"), listenEcho(t)); u.StatusCode != 200 {
		t.Errorf("a client beside them has status %d", u.StatusCode)
	}
	waittest.Eventually(t, "the end of the oldest", func() bool { return e.metric(t, "proxy_exit_connections_total", "handshake") >= 10 })
	for _, conn := range strangers {
		_ = conn.Close()
	}
	waittest.Eventually(t, "the end of all", func() bool { return e.metric(t, "proxy_exit_connections_total", "handshake") == maxHandshakes+10 })
	if lines := len(e.log.Lines(t, "a client's handshake failed")); lines > 10*quietLines {
		t.Errorf("%d lines about strangers", lines)
	}
}

// TestSlowLoris: a handshake, and a client's first frame after it, have a time limit.
func TestSlowLoris(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, func(c *Config) { c.HandshakeTimeout = 500 * time.Millisecond })
	silent, err := net.Dial("tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := io.Copy(io.Discard, silent); errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	waittest.Eventually(t, "the count", func() bool { return e.metric(t, "proxy_exit_connections_total", "handshake") == 1 })
	half, err := tls.Dial("tcp", e.address, e.clientTLS(e.certificate(t, "app")))
	if err != nil {
		return // this machine has needed too long
	}
	defer half.Close()
	_, _ = io.WriteString(half, http2.ClientPreface[:10])
	if _, err := io.Copy(io.Discard, half); errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// TestConnectionLimits: too many connections of one client, or of all, are closed with
// GOAWAY, and others are not.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, func(c *Config) { c.Limits.ClientConnections, c.Limits.Connections = 2, 3 })
	target := listenEcho(t)
	for range 2 {
		open(t, e.connect(t, "app"), target).echo(t, "x")
	}
	closed := func(name string) {
		t.Helper()
		if code := waittest.Await(t, e.raw(t, name).ended, "the end of a connection"); code != http2.ErrCodeEnhanceYourCalm {
			t.Errorf("the connection of %s ended with %v", name, code)
		}
	}
	closed("app")
	other := e.connect(t, "other")
	if u := open(t, other, target); u.StatusCode != 403 {
		t.Errorf("another client has status %d, want 403", u.StatusCode)
	}
	closed("third")
	if got := e.metric(t, "proxy_exit_connections_total", "limit"); got != 2 {
		t.Errorf("%v connections beyond the limits, want 2", got)
	}
	_ = other.Close()
	waittest.Eventually(t, "room for another", func() bool { return e.metric(t, "proxy_exit_connections_active") == 2 })
	if u := open(t, e.connect(t, "third"), target); u.StatusCode != 403 {
		t.Errorf("the third client has status %d, want 403", u.StatusCode)
	}
}

// TestLargeHeader: a header that is too large is answered with 431. A client would try a
// stream that was reset with REFUSED_STREAM again, on each of its connections.
func TestLargeHeader(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, nil)
	r := e.raw(t, "app")
	block := append(connectBlock("127.0.0.1:1"), bytes.Repeat([]byte{0x00, 0x01, 'a', 0x01, 'b'}, 1000)...)
	if err := r.headers(1, block); err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "the refusal", func() bool { return len(e.log.Lines(t, "a connection was refused")) == 1 })
	if line := e.log.Lines(t, "a connection was refused")[0]; line["status"] != 431.0 || line["error"] != "http_request_error" {
		t.Errorf("the line is %v", line)
	}
}

// TestOrderlyEnd: a client that ends its connection is no error in the log. It has read all
// that the exit has sent, or the kernel would reset the connection.
func TestOrderlyEnd(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, nil)
	client := e.connect(t, "app")
	if err := client.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
	waittest.Eventually(t, "the line", func() bool { return len(e.log.Lines(t, "a client's connection has ended")) == 1 })
	if line := e.log.Lines(t, "a client's connection has ended")[0]; line["error"] != nil {
		t.Errorf("the line has error %v", line["error"])
	}
}
