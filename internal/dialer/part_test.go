// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode/packettest"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// frameCounter is between a client and a server that speak HTTP/2 in plaintext. It
// counts how the client ends its streams.
type frameCounter struct {
	mu     sync.Mutex
	ends   int // streams with END_STREAM
	resets int // RST_STREAM frames
}

// relayFrames returns the Unix socket of a frameCounter in front of the socket at path.
func relayFrames(t testing.TB, path string) (*frameCounter, string) {
	t.Helper()
	front := filepath.Join(t.TempDir(), "front")
	l, err := net.Listen("unix", front)
	must(t, err)
	var relaying sync.WaitGroup
	c := &frameCounter{}
	relaying.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", path)
			if err != nil {
				_ = from.Close()
				continue
			}
			relaying.Go(func() {
				defer from.Close()
				_, _ = io.Copy(from, to)
			})
			relaying.Go(func() {
				defer to.Close()
				c.relay(to, from)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		relaying.Wait()
	})
	return c, front
}

// relay copies frames until there are no more.
func (c *frameCounter) relay(to io.Writer, from io.Reader) {
	tee := io.TeeReader(from, to)
	if _, err := io.CopyN(io.Discard, tee, int64(len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(nil, tee)
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			return
		}
		c.mu.Lock()
		if d, ok := f.(*http2.DataFrame); ok && d.StreamEnded() {
			c.ends++
		}
		if _, ok := f.(*http2.RSTStreamFrame); ok {
			c.resets++
		}
		c.mu.Unlock()
	}
}

func (c *frameCounter) counts() (ends, resets int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ends, c.resets
}

// TestStreamsEndInOrder: connections that end, and dials that are refused, reset no
// stream. Some proxies in between count resets of young streams: Envoy closes a
// connection if half of its 500 streams were reset (its runtime key
// overload.premature_reset_total_stream_count).
func TestStreamsEndInOrder(t *testing.T) {
	const dials = 500
	refusing := func(s client.ProxyService_ProxyServer) error {
		pkt, err := s.Recv()
		if err != nil {
			return err
		}
		if err := s.Send(packettest.DialRsp(pkt.GetDialRequest().GetRandom(), 0, "dial tcp 100.64.3.7:9100: connect: connection refused")); err != nil {
			return err
		}
		_, err = s.Recv() // the server waits for its client to end the stream
		return ended(err)
	}
	for _, tc := range []struct {
		name    string
		script  script
		refused bool
	}{{"connections", closingInOrder, false}, {"refused dials", refusing, true}} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "server")
			l, err := net.Listen("unix", path)
			must(t, err)
			serveScript(t, l, tunnel.ModeGRPC, tc.script)
			frames, front := relayFrames(t, path)
			d := newDialer(t, tunnel.TLS{}, hang, tunnel.Server{Name: "x", Network: tunnel.NetworkUnix, Address: front, Mode: tunnel.ModeGRPC})
			for range dials {
				c, wrong := d.attempt(t)
				if refused := wrong != nil && wrong.Reason == tunnel.ReasonRefused; refused != tc.refused {
					t.Fatalf("a dial: %v", wrong)
				} else if refused {
					continue
				}
				must(t, c.Close())
				if _, err := c.Receive(); !errors.Is(err, tunnel.ErrClosed) {
					t.Errorf("Receive behind Close: %v", err)
				}
			}
			waittest.Eventually(t, "the end of all streams", func() bool {
				inUse, idle := d.endpoint(t).linkCounts()
				return inUse > 0 && idle == inUse
			})
			ends, resets := frames.counts()
			if ends < dials || resets > 0 {
				t.Errorf("%d streams were ended in order, and %d reset; want all %d in order", ends, resets, dials)
			}
		})
	}
}

// closingInOrder is the script of a server that accepts, answers CLOSE_REQ, and waits
// for its client to end the stream.
func closingInOrder(s client.ProxyService_ProxyServer) error {
	if err := accept(s); err != nil {
		return err
	}
	for {
		pkt, err := s.Recv()
		if err != nil {
			return ended(err)
		}
		if pkt.Type == client.PacketType_CLOSE_REQ {
			if err := s.Send(packettest.CloseRsp(connID, "")); err != nil {
				return err
			}
		}
	}
}

// ended returns the status of a server whose client has ended the stream.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
