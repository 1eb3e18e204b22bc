// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/grpcwire"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/tunnel/tunneltest"
)

// This file plays a script to a real stream, whose clock and proxy-server are fakes,
// and records what both sides see. model_test.go says what they should see.

// dialBudget is how long a script's app waits for its dial.
const dialBudget = 3 * time.Second

// modelMetrics is for all scripts, which leave its gauges at zero.
var modelMetrics = sync.OnceValue(func() *Metrics { return NewMetrics(prometheus.NewRegistry()) })

// newModelStream returns a stream on r. Its server has no connection at all.
func newModelStream(t *testing.T, r *fakeRPC) *stream {
	to := serverconn.NewConnector(nil, tunnel.SettingNames{}, 0).Endpoint(tunnel.Server{Name: "model"}, netip.AddrPort{})
	l := &link{streams: 1}
	e := New(to, &modelGRPCOwner{}, &Shared{
		Metrics: modelMetrics(), Quota: quota.New(1 << 20), Background: new(sync.WaitGroup), Files: func() int { return 0 },
	})
	e.links.inUse = []*link{l}
	made, err := e.newStream(l, func(h grpcwire.Handler) (rpc, error) {
		r.handler = h
		return r, nil
	})
	must(t, err)
	return made
}

// modelGRPCOwner is an endpoint that has nothing but a load, and to which there is no
// connection.
type modelGRPCOwner struct {
	Owner
	load atomic.Int64
}

func (o *modelGRPCOwner) ConnectionEnded() { o.load.Add(-1) }

// journal has the events that were seen, and when.
type journal struct {
	mu    sync.Mutex
	start time.Time
	lines [logs][]string
}

// The parts of a journal. Within one part the order counts.
const (
	logDial    = iota // how the dial ended
	logReceive        // what Receive returned
	logSend           // what Send returned
	logWire           // packets to the server
	logCancel         // when the stream was ended
	logs
)

func (j *journal) add(part int, format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.note(time.Since(j.start), part, fmt.Sprintf(format, args...))
}

func (j *journal) note(at time.Duration, part int, line string) {
	j.lines[part] = append(j.lines[part], fmt.Sprintf("%v %s", at, line))
}

// String returns the journal, for people.
func (j *journal) String() string {
	var b strings.Builder
	for part, name := range [logs]string{"dial", "receive", "send", "wire", "cancel"} {
		fmt.Fprintf(&b, "  %-8s%s\n", name, strings.Join(j.lines[part], ", "))
	}
	return b.String()
}

// world is the stream of one script, its app and its server.
type world struct {
	*journal
	t      *testing.T
	rpc    *fakeRPC
	stream *stream
	giveUp context.CancelFunc
	dialed atomic.Bool

	said     int // bytes that the target has sent so far
	got      strings.Builder
	reading  atomic.Bool
	writing  atomic.Bool
	asked    strings.Builder // bytes that the app has sent
	finished bool            // the server has ended the stream
}

// newWorld returns a world in which the app has just begun its dial.
func newWorld(t *testing.T) *world {
	w := &world{t: t, journal: &journal{start: time.Now()}}
	w.rpc = &fakeRPC{
		t: t, log: w.journal, arrivals: make(chan arrival, 64), cancelled: make(chan struct{}),
		broken: make(chan struct{}), flow: make(chan struct{}), saw: map[client.PacketType]int{},
	}
	close(w.rpc.flow)
	w.stream = newModelStream(t, w.rpc)
	go w.rpc.read()
	ctx, giveUp := context.WithTimeout(t.Context(), dialBudget)
	w.giveUp = giveUp
	go func() {
		if err := w.stream.dial(ctx, target); err != nil {
			w.add(logDial, "%s", tunneltest.Words(err))
			return
		}
		w.add(logDial, "ok")
		w.stream.dialer.owner.(*modelGRPCOwner).load.Add(1) // for the dial, as endpoint.claim does
		w.dialed.Store(true)
	}()
	synctest.Wait()
	return w
}

// end closes what is still open, waits until all graces have passed, and checks that
// nothing is left.
func (w *world) end() {
	w.giveUp()
	synctest.Wait()
	if w.dialed.Load() {
		_ = w.stream.Close()
	}
	time.Sleep(10 * time.Second)
	done := make(chan struct{})
	go func() {
		w.stream.dialer.shared.Background.Wait()
		close(done)
	}()
	synctest.Wait()
	select {
	case <-done:
	default:
		w.t.Fatalf("a goroutine of the stream is still there 10 s after its end")
	}
	switch {
	case !w.rpc.ended:
		w.t.Error("the stream was never ended: the server keeps it for ever")
	case w.stream.dialer.owner.(*modelGRPCOwner).load.Load() != 0 || w.stream.link.streams != 0:
		w.t.Errorf("%d active connections and %d streams are left", w.stream.dialer.owner.(*modelGRPCOwner).load.Load(), w.stream.link.streams)
	case w.stream.status != statusGone:
		w.t.Errorf("client_connections still counts it as %q", w.stream.status)
	case w.reading.Load() || w.writing.Load():
		w.t.Error("a Receive or a Send never returned")
	}
	w.checkBytes()
}

// checkBytes checks that no byte was invented or reordered. The model says how many
// must have come.
func (w *world) checkBytes() {
	if got := w.got.String(); got != text(0, len(got)) {
		w.t.Errorf("the app got other bytes than the target sent: %.80q", got)
	}
	if wrote := w.rpc.wrote.String(); !strings.HasPrefix(w.asked.String(), wrote) {
		w.t.Errorf("the target got other bytes than the app sent: %.80q", wrote)
	}
}

// text returns the n bytes that each side sends from offset at on.
func text(at, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((at + i) * 131 >> 3)
	}
	return string(b)
}

// arrive delivers pkt, or the end of the stream, to the client.
func (w *world) arrive(pkt *client.Packet, err error) {
	if w.finished {
		return // nothing comes behind the end
	}
	if err != nil {
		w.finished = true
		close(w.rpc.broken)
	}
	w.rpc.arrivals <- arrival{pkt, err}
}

// receive starts one Receive, or as many as are needed to see the end, unless one is
// under way.
func (w *world) receive(all bool) {
	if !w.dialed.Load() || w.reading.Swap(true) {
		return
	}
	go func() {
		defer w.reading.Store(false)
		for more := true; more; more = all {
			p, err := w.stream.Receive()
			if err != nil {
				w.add(logReceive, "%s", tunneltest.Words(err))
				return
			}
			w.add(logReceive, "%d bytes", len(p))
			w.got.Write(p)
			clear(p)
		}
	}()
}

// send starts a Send of n bytes, unless one is under way.
func (w *world) send(n int) {
	if !w.dialed.Load() || w.writing.Swap(true) {
		return
	}
	p := []byte(text(w.asked.Len(), n))
	w.asked.Write(p)
	go func() {
		defer w.writing.Store(false)
		err := w.stream.Send(p)
		clear(p) // Send must not keep it
		if err != nil {
			w.add(logSend, "%s", tunneltest.Words(err))
			return
		}
		w.add(logSend, "ok")
	}()
}

// stall stops the server's reading, or starts it again.
func (w *world) stall(on bool) {
	select {
	case <-w.rpc.flow:
		if on {
			w.rpc.flow = make(chan struct{})
		}
	default:
		if !on {
			close(w.rpc.flow)
		}
	}
}

var errGoingAway = status.Error(codes.Unavailable, "going away")
