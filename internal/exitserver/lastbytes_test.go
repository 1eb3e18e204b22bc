// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// narrowWindow is what a client without WINDOW_UPDATE receives, in bytes.
const narrowWindow = 1<<16 - 1

// narrowClient has one stream to a target that has sent more than narrowWindow, and then has
// reset the connection.
type narrowClient struct {
	*http2.Framer
	exit *testExit
}

// behind is how many bytes wait in the exit until the client opens its window.
const behind = 10_000

// newNarrowClient starts an exit, which looks at the target of a stalled client after an
// interval; after the real one if that is 0.
func newNarrowClient(t *testing.T, interval time.Duration) *narrowClient {
	t.Helper()
	e := newExit(t, allowLoopback, func(c *Config) { c.stallInterval = interval })
	wasReset := make(chan struct{})
	target := listen(t, func(conn *net.TCPConn) {
		_, _ = conn.Write(make([]byte, narrowWindow+behind))
		raw, _ := conn.SyscallConn()
		waittest.Eventually(t, "the acknowledgement of all bytes", func() bool {
			info, err := sockio.TCPInfo(raw)
			return err == nil && info.Unacked == 0 && info.Notsent_bytes == 0
		})
		reset(conn)
		close(wasReset)
	})
	conn, err := tls.Dial("tcp", e.address, e.clientTLS(e.certificate(t, "app")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(waittest.Limit))
	c := &narrowClient{Framer: http2.NewFramer(conn, conn), exit: e}
	_, _ = io.WriteString(conn, http2.ClientPreface)
	_ = c.WriteSettings()
	_ = c.WriteSettingsAck()
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: connectBlock(target), EndHeaders: true})
	if got, end := c.receive(t, narrowWindow); got != narrowWindow {
		t.Fatalf("the client got %d bytes and %v", got, end)
	}
	waittest.Await(t, wasReset, "the reset")
	return c
}

// receive reads up to most bytes of DATA. end is the frame that has ended the stream before,
// or nil.
func (c *narrowClient) receive(t *testing.T, most int) (got int, end http2.Frame) {
	t.Helper()
	for got < most {
		frame, err := c.ReadFrame()
		if err != nil {
			t.Fatalf("after %d bytes: %v", got, err)
		}
		switch f := frame.(type) {
		case *http2.RSTStreamFrame:
			return got, f
		case *http2.DataFrame:
			if got += len(f.Data()); f.StreamEnded() {
				return got, f
			}
		}
	}
	return got, nil
}

// awaitCause waits until the upload has noticed the reset.
func (c *narrowClient) awaitCause(t *testing.T) {
	t.Helper()
	s := c.exit.all()[0].all()[0]
	waittest.Eventually(t, "the cause of the end", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.reason == CloseTargetReset
	})
}

// TestLastBytesBeforeReset: what a target has sent before its reset arrives, as it does in
// an app that TCP connects to the target. It does not matter what the client does meanwhile.
func TestLastBytesBeforeReset(t *testing.T) {
	t.Parallel()
	for name, upload := range map[string]func(*narrowClient){
		"the client sends": func(c *narrowClient) { _ = c.WriteData(1, false, []byte("x")) },
		"the client ends":  func(c *narrowClient) { _ = c.WriteData(1, true, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newNarrowClient(t, time.Hour)
			upload(c)
			c.awaitCause(t)
			_ = c.WriteWindowUpdate(1, 2*behind)
			_ = c.WriteWindowUpdate(0, 2*behind)
			got, end := c.receive(t, 2*behind)
			if got != behind {
				t.Errorf("%d of the last %d bytes arrived", got, behind)
			}
			if f, ok := end.(*http2.RSTStreamFrame); !ok || f.ErrCode != http2.ErrCodeConnect {
				t.Errorf("the stream ended with %v, want a reset", end)
			}
			waittest.Eventually(t, "the reason", func() bool { return c.exit.metric(t, "proxy_exit_close_total", "target_reset") == 1 })
		})
	}
}

// TestResetReachesStalledClient: a client that does not take the last bytes is reset all the
// same, after a time.
func TestResetReachesStalledClient(t *testing.T) {
	t.Parallel()
	c := newNarrowClient(t, 0)
	_ = c.WriteData(1, false, []byte("x"))
	if got, end := c.receive(t, 1); got > 0 {
		t.Errorf("the client got %d bytes and %v, want a reset", got, end)
	}
}

// TestFirstCauseStays: if the client gives up while it gets the last bytes before a target's
// reset, the reset was the cause.
func TestFirstCauseStays(t *testing.T) {
	t.Parallel()
	c := newNarrowClient(t, time.Hour)
	_ = c.WriteData(1, false, []byte("x"))
	c.awaitCause(t)
	_ = c.WriteRSTStream(1, http2.ErrCodeCancel)
	waittest.Eventually(t, "the reason", func() bool { return c.exit.metric(t, "proxy_exit_close_total", "target_reset") == 1 })
}

// TestResetReachesFullClient: if the client has all that the target has sent, it need not
// open its window to be reset. lastBytesTimeout is for other clients.
func TestResetReachesFullClient(t *testing.T) {
	t.Parallel()
	c := newNarrowClient(t, time.Hour)
	_ = c.WriteWindowUpdate(1, behind)
	_ = c.WriteWindowUpdate(0, behind)
	if got, end := c.receive(t, behind); got != behind {
		t.Fatalf("%d of the last %d bytes arrived, and %v", got, behind, end)
	}
	began := time.Now()
	_ = c.WriteData(1, false, []byte("x"))
	if got, end := c.receive(t, 1); got > 0 {
		t.Errorf("the client got %d bytes and %v, want a reset", got, end)
	}
	waittest.Eventually(t, "the reason", func() bool { return c.exit.metric(t, "proxy_exit_close_total", "target_reset") == 1 })
	if took := time.Since(began); took >= lastBytesTimeout {
		t.Errorf("the reset came after %s", took)
	}
}
