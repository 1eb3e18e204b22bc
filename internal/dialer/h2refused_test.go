// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/tunnel/tunneltest"
)

// refusingProxy is an HTTP/2 proxy that resets streams with REFUSED_STREAM, as it does at a
// limit of its own (RFC 9113, section 8.7).
type refusingProxy struct {
	refuses     func(probe bool) bool // whether a dial is refused
	code        http2.ErrCode         // of the reset, if it is not REFUSED_STREAM
	leaves      bool                  // a refusal is GOAWAY, as of a proxy that is ending
	connections atomic.Int64
}

// serve starts the proxy.
func (r *refusingProxy) serve(t *testing.T, p *pki) tunnel.Server {
	t.Helper()
	l := listen(t)
	var serving sync.WaitGroup
	serving.Go(func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			r.connections.Add(1)
			serving.Go(func() { r.serveConn(tls.Server(conn, p.serverConfig())) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return tcpServer(l, tunnel.ModeH2Connect)
}

func (r *refusingProxy) serveConn(conn net.Conn) {
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = framer.WriteSettings()
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = framer.WritePing(true, f.Data)
			}
		case *http2.MetaHeadersFrame:
			if r.refuses(f.PseudoValue("authority") == "127.0.0.1:1") {
				if r.leaves {
					_ = framer.WriteGoAway(f.StreamID-1, http2.ErrCodeNo, nil)
				} else {
					_ = framer.WriteRSTStream(f.StreamID, cmp.Or(r.code, http2.ErrCodeRefusedStream))
				}
				continue
			}
			var block bytes.Buffer
			_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: f.StreamID, BlockFragment: block.Bytes(), EndHeaders: true})
		}
	}
}

// TestH2ConnectRefusedStreams: a proxy that refuses a stream has not processed it. The dial is
// made again on the same connection, which other streams use. If it is refused again and
// again, the proxy is at a limit. It does not count as a server that is no proxy.
func TestH2ConnectRefusedStreams(t *testing.T) {
	p := newPKI(t)
	t.Run("once", func(t *testing.T) {
		var dials atomic.Int64
		proxy := &refusingProxy{refuses: func(probe bool) bool { return !probe && dials.Add(1) == 2 }}
		d := newDialer(t, p.client(), hang, proxy.serve(t, p))
		for range 3 {
			conn, err := d.dial(t)
			must(t, err)
			defer conn.Close()
		}
		if n, asked := proxy.connections.Load(), dials.Load(); n != 1 || asked != 4 {
			t.Errorf("%d dials on %d connections, want 4 on one", asked, n)
		}
	})
	t.Run("always", func(t *testing.T) {
		proxy := &refusingProxy{refuses: func(probe bool) bool { return !probe }}
		d := newDialer(t, p.client(), hang, proxy.serve(t, p))
		_, err := d.attempt(t)
		if err == nil || err.Reason != tunnel.ReasonMaxConnections || err.Fault != tunnel.FaultServer || !strings.Contains(err.Error(), "REFUSED_STREAM") {
			t.Errorf("the dial ended with %v, want a limit of the proxy", err)
		}
		if n := proxy.connections.Load(); n != 1 {
			t.Errorf("%d connections were made, want one", n)
		}
	})
	t.Run("also in a check", func(t *testing.T) {
		proxy := &refusingProxy{refuses: func(bool) bool { return true }}
		d := newDialer(t, p.client(), hang, proxy.serve(t, p))
		err := d.endpoint(t).Check(t.Context())
		if err == nil || err.Reason != tunnel.ReasonMaxConnections || err.Fault.Lasting() {
			t.Errorf("the check ended with %v, want a limit of the proxy", err)
		}
	})
}

// TestH2ConnectResetDials: a proxy that resets a dial's stream in place of an answer is named
// as what has failed, with the code, and not the connection to it. CONNECT_ERROR says that the
// target cannot be reached (RFC 9113, section 8.5), also in a check: it then is a proxy.
func TestH2ConnectResetDials(t *testing.T) {
	for code, want := range map[http2.ErrCode]struct{ dial, check string }{
		http2.ErrCodeConnect:         {"unreachable", ""},
		http2.ErrCodeEnhanceYourCalm: {"max_connections, elsewhere", "max_connections, elsewhere"},
		http2.ErrCodeInternal:        {"other, elsewhere", "protocol, elsewhere"},
		http2.ErrCodeProtocol:        {"protocol, elsewhere", "protocol, elsewhere"},
	} {
		t.Run(code.String(), func(t *testing.T) {
			p := newPKI(t)
			proxy := &refusingProxy{code: code, refuses: func(probe bool) bool { return !probe }}
			d := newDialer(t, p.client(), hang, proxy.serve(t, p))
			_, err := d.attempt(t)
			if err == nil {
				t.Fatal("the dial succeeded")
			}
			if got := tunneltest.Words(err); got != want.dial || !strings.Contains(err.Error(), code.String()) || errors.Is(err, tunnel.ErrBroken) || err.Next == "" {
				t.Errorf("the dial means %q, %v, next %q; want %q", got, err, err.Next, want.dial)
			}
			proxy = &refusingProxy{code: code, refuses: func(bool) bool { return true }}
			got := ""
			if err := newDialer(t, p.client(), hang, proxy.serve(t, p)).endpoint(t).Check(t.Context()); err != nil {
				got = tunneltest.Words(err)
			}
			if got != want.check {
				t.Errorf("the check ends with %q, want %q", got, want.check)
			}
		})
	}
}

// TestH2ConnectLeavingProxy: a dial does not make one connection after the other to a proxy
// that ends each of them when it is used.
func TestH2ConnectLeavingProxy(t *testing.T) {
	p := newPKI(t)
	t.Run("with a dial", func(t *testing.T) {
		proxy := &refusingProxy{leaves: true, refuses: func(probe bool) bool { return !probe }}
		d := newDialer(t, p.client(), time.Second, proxy.serve(t, p))
		if conn, err := d.dial(t); err == nil {
			_ = conn.Close()
			t.Error("the dial succeeded")
		}
		if n := proxy.connections.Load(); n > 20 {
			t.Errorf("%d connections were made within a second", n)
		}
	})
	t.Run("with a check", func(t *testing.T) {
		proxy := &refusingProxy{leaves: true, refuses: func(bool) bool { return true }}
		d := newDialer(t, p.client(), hang, proxy.serve(t, p))
		err := d.endpoint(t).Check(t.Context())
		if err == nil || err.Reason != tunnel.ReasonServerUnreachable || err.Fault.Lasting() {
			t.Errorf("the check ended with %v, want a server that may be there later", err)
		}
	})
}
