// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// allowBoth is a policy for two clients.
const allowBoth = `
apiVersion: config.shoot-proxy.io/v1alpha1
kind: ExitPolicy
rules:
- clients: [{commonName: greedy}, {commonName: modest}]
  cidrs: [127.0.0.0/8]
  names: ["*"]
`

// answer returns HEADERS or RST_STREAM of a stream, whichever comes first.
func (r *rawClient) answer(t *testing.T, id uint32) http2.Frame {
	t.Helper()
	_ = r.conn.SetReadDeadline(time.Now().Add(waittest.Limit))
	for {
		frame, err := r.framer.ReadFrame()
		if err != nil {
			t.Fatalf("no answer to stream %d: %v", id, err)
		}
		switch frame.(type) {
		case *http2.HeadersFrame, *http2.RSTStreamFrame:
			if frame.Header().StreamID == id {
				return frame
			}
		}
	}
}

// TestNewStreamsOfOneClient: a client takes memory with streams that begin before it knows
// the exit's SETTINGS, as long as it gets some. Another client's streams still begin.
func TestNewStreamsOfOneClient(t *testing.T) {
	t.Parallel()
	const streams, buffer = 200, 8 << 20 // each stream takes 48 KiB
	target := listenEcho(t)
	e := newExit(t, allowBoth, func(c *Config) { c.Limits.Buffer, c.DialTimeout = buffer, waittest.Limit })
	greedy := e.rawEarly(t, "greedy")
	for i := range streams {
		if err := greedy.headers(uint32(2*i+1), connectBlock("silent.test:1")); err != nil {
			t.Fatal(err)
		}
	}
	if f, ok := greedy.answer(t, 2*streams-1).(*http2.RSTStreamFrame); !ok || f.ErrCode != http2.ErrCodeRefusedStream {
		t.Fatalf("the last stream got %v: there was memory for all", f)
	}
	modest := e.rawEarly(t, "modest")
	if err := modest.headers(1, connectBlock(target)); err != nil {
		t.Fatal(err)
	}
	if f := modest.answer(t, 1); f.Header().Type != http2.FrameHeaders {
		t.Errorf("the stream of another client got %v", f)
	}
}

// TestUploadsOfOneClient: the uploads of one client, whose targets do not read, take its share
// and no more. Those for which it has none go on, and another client's window grows.
func TestUploadsOfOneClient(t *testing.T) {
	t.Parallel()
	const buffer = 4 << 20 // of which each upload takes 48 KiB, since it begins early
	release := make(chan struct{})
	stalls := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		<-release
	})
	t.Cleanup(func() { close(release) })
	echo := listenEcho(t)
	e := newExit(t, allowBoth, func(c *Config) { c.Limits.Buffer = buffer })
	late := open(t, e.connect(t, "greedy"), echo)
	late.echo(t, "before")
	greedy, uploads := e.rawEarly(t, "greedy"), 0
	for id := uint32(1); ; id += 2 {
		if err := greedy.headers(id, connectBlock(stalls)); err != nil {
			t.Fatal(err)
		}
		if greedy.answer(t, id).Header().Type == http2.FrameRSTStream {
			break
		}
		for range 3 {
			_ = greedy.framer.WriteData(id, false, make([]byte, 16<<10))
		}
		uploads++
	}
	if most := e.metric(t, "proxy_exit_client_buffer_bytes"); most < buffer/4 || most > e.metric(t, "proxy_exit_limit", "client_buffer") {
		t.Errorf("one client has %v bytes of %d", most, buffer)
	}
	late.echo(t, "question")
	client := e.connect(t, "modest")
	open(t, client, echo).echo(t, "question") // so that what follows does not begin early
	u := open(t, client, listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		_, _ = io.Copy(io.Discard, conn)
	}))
	go func() {
		for err := error(nil); err == nil; {
			_, err = u.send.Write(make([]byte, 64<<10))
		}
	}()
	waittest.Eventually(t, "a wider window of another client", func() bool {
		return e.usage.memory.Used()-e.usage.mostMemory() >= 16<<10
	})
	if got := e.metric(t, "proxy_exit_streams_active"); got != float64(uploads+3) {
		t.Errorf("%v streams are open, want %d: nothing is reset", got, uploads+3)
	}
}

// TestDownloadsOfOneClient: what waits for a client that does not read takes its share and no
// more. For another client as much may wait on a connection as without the first.
func TestDownloadsOfOneClient(t *testing.T) {
	t.Parallel()
	const connections, buffer = 8, 4 << 20
	const wide = 256 << 10
	const greedy = 5 * wide // then less than 8*wide is left to the client
	source := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		block := make([]byte, 64<<10)
		for {
			if _, err := conn.Write(block); err != nil {
				return
			}
		}
	})
	e := newExit(t, allowBoth, func(c *Config) { c.Limits.Buffer = buffer })
	download := func(name string) {
		r := e.rawEarly(t, name)
		_ = r.framer.WriteSettingsAck()
		_ = r.framer.WriteWindowUpdate(0, 1<<30)
		for id := uint32(1); id < 8; id += 2 { // what one has sent, others wait behind
			if err := r.headers(id, connectBlock(source)); err != nil {
				t.Fatal(err)
			}
			_ = r.framer.WriteWindowUpdate(id, 1<<30)
		}
	}
	for range connections {
		download("greedy")
	}
	waittest.Eventually(t, "the client's share to be used", func() bool { return e.usage.mostMemory() == greedy })
	download("modest")
	waittest.Eventually(t, "memory for another client", func() bool { return e.usage.memory.Used() == greedy+wide })
	if got := e.metric(t, "proxy_exit_client_buffer_bytes"); got > greedy {
		t.Errorf("the first client has %v bytes, want at most %d", got, greedy)
	}
}
