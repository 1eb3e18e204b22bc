// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode/packettest"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestCeiling: whatever a server sends on the connections of apps that do not receive,
// memory stays below the quota and a fixed part. The connection that holds the most is
// ended for it, with an error that says so. The others go on.
func TestCeiling(t *testing.T) {
	const (
		limit       = 4 << 20
		connections = 500
		// fixed is for streams and links at both ends, since the server is in this
		// process, and for connections that were ended just now.
		fixed = 16 << 20
	)
	message := func(size, sent int) string {
		packet, err := proto.Marshal(packettest.Data(connID, strings.Repeat("x", size)))
		must(t, err)
		head := packet[:len(packet)-size]
		length := len(head) + size
		return "\x00" + string([]byte{byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length)}) + string(head) + strings.Repeat("x", sent)
	}
	for _, tc := range []struct {
		name  string
		bytes string // on each stream
		goes  bool   // a connection has to be ended for it
	}{
		{"half a message each", message(grpcmode.MaxMessage-100, grpcmode.MaxMessage/2), true},
		{"all but a byte of a message each", message(grpcmode.MaxMessage-100, grpcmode.MaxMessage-101), true},
		{"as much as the window allows", strings.Repeat(message(32<<10, 32<<10), streamWindow/(33<<10)), true},
		{"the same in small messages", strings.Repeat(message(4<<10, 4<<10), streamWindow/(5<<10)), true},
		{"the same in messages of a byte", strings.Repeat(message(1, 1), streamWindow/64), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPKI(t)
			hostile, wires := p.serveTampered(t, echoing)
			d := newDialer(t, p.client(), hang, hostile, p.serveGRPC(t, tunnel.ModeGRPC, echoing))
			d.grpc.Quota = quota.New(limit)
			beside := d.bystander(t, 1)
			var conns []tunnel.Conn
			for range connections {
				conn, err := through(t, d.servers[0].known()[0], target, hang)
				if err != nil {
					t.Fatal(err)
				}
				conns = append(conns, conn)
			}
			wire := <-wires
			ended := 0
			// letGo closes the connections that have ended, as their relays would.
			letGo := func() {
				conns = slices.DeleteFunc(conns, func(conn tunnel.Conn) bool {
					if !isOver(conn) {
						return false
					}
					if _, err := conn.Receive(); !errors.Is(err, tunnel.ErrUnreceived) || !strings.Contains(err.Error(), "--total-buffer") {
						t.Errorf("a connection ended with %v, want ErrUnreceived", err)
					}
					_ = conn.Close()
					ended++
					return true
				})
			}
			last := conns[len(conns)-1]
			before := live()
			var most uint64
			wire.mu.Lock() // the real server sends nothing more
			for i := range connections {
				id := uint32(3 + 2*i) // behind the stream of the check
				for rest := tc.bytes; rest != ""; {
					n := min(len(rest), 16<<10)
					if _, err := io.WriteString(wire.Conn, h2Frame(h2Data, 0, id, rest[:n])); err != nil {
						t.Fatalf("stream %d: %v", id, err)
					}
					rest = rest[n:]
				}
				if i%20 == 0 {
					letGo()
					most = max(most, live())
				}
			}
			wire.mu.Unlock()
			waittest.Eventually(t, "the bytes to arrive", func() bool { bytes, over := held(last); return bytes > 0 || over })
			letGo()
			if most = max(most, live()); most > before+limit+fixed {
				t.Errorf("the heap grew from %d to %d bytes, of a quota of %d", before, most, limit)
			}
			waittest.Eventually(t, "no more to be held than the quota", func() bool { return d.grpc.Quota.Held() <= limit })
			beside.lives()
			letGo()
			for _, conn := range conns {
				_ = conn.Close()
			}
			if (ended > 0) != tc.goes {
				t.Errorf("%d connections of %d had to go", ended, connections)
			}
			// The bystander holds the segment that it has received last.
			waittest.Eventually(t, "nothing else to be held any more", func() bool { return d.grpc.Quota.Held() <= smallSegment })
		})
	}
}

// live returns the bytes of the heap that are in use. Pools (sync.Pool) do not count: a
// second collection empties them.
func live() uint64 {
	runtime.GC()
	runtime.GC()
	return heap()
}

// isOver reports whether a connection in gRPC mode has ended.
func isOver(conn tunnel.Conn) bool {
	_, over := held(conn)
	return over
}

// held returns how many bytes are held for a connection in gRPC mode, and whether it
// has ended.
func held(conn tunnel.Conn) (bytes int, over bool) {
	return conn.(interface{ Held() (int, bool) }).Held()
}

// TestUnansweredDialsHoldLittle: until a dial is answered, a server cannot make us hold
// more than an answer may have.
func TestUnansweredDialsHoldLittle(t *testing.T) {
	const dials = 100
	p := newPKI(t)
	half := fmt.Sprintf("\x00\x00\x00%c%c%s", byte(grpcmode.MaxAnswer>>8), byte(grpcmode.MaxAnswer&0xff), strings.Repeat("x", grpcmode.MaxAnswer-1))
	hostile := p.serveRaw(t, tunnel.ModeGRPC, serverconn.ALPNHTTP2, func(c rawConn) {
		c.say(h2Frame(h2Settings, 0, 0, ""))
		check := <-c.streams
		c.say(h2Frame(h2Headers, h2EndHeaders|h2EndStream, check, hpackIdentity))
		for id := range c.streams {
			c.say(h2Frame(h2Headers, h2EndHeaders, id, hpackOK+hpackGRPC), h2Frame(h2Data, 0, id, half))
		}
	})
	d := newDialer(t, p.client(), hang, hostile)
	d.grpc.Quota = quota.New(64 << 20)
	e := d.endpoint(t)
	must(t, func() error {
		if err := e.Check(t.Context()); err != nil {
			return err
		}
		return nil
	}())
	before := d.grpc.Quota.Held()
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	var dialing sync.WaitGroup
	for range dials {
		dialing.Go(func() {
			if conn, err := e.dial(ctx, target, e.claim(), nil); err == nil {
				_ = conn.Close()
				t.Error("a dial succeeded without an answer")
			}
		})
	}
	waittest.Eventually(t, "half an answer to each", func() bool { return d.grpc.Quota.Held()-before >= dials*(grpcmode.MaxAnswer-1) })
	if held := d.grpc.Quota.Held() - before; held > 2*dials*grpcmode.MaxAnswer {
		t.Errorf("%d dials without an answer hold %d bytes", dials, held)
	}
	giveUp()
	dialing.Wait()
	waittest.Eventually(t, "nothing to be held any more", func() bool { return d.grpc.Quota.Held() == before })
}
