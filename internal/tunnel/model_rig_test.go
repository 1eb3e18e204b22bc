// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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

	"github.com/shoot-proxy/proxy-client/internal/options"
)

// This file plays a script to a real stream, whose clock and whose
// proxy-server are fakes, and writes down what both sides see.
// model_test.go says what they should see.

// dialBudget is how long a script's app waits for its dial.
const dialBudget = 3 * time.Second

// modelMetrics serves all scripts, which leave its gauges at zero.
var modelMetrics = sync.OnceValue(func() *Metrics { return NewMetrics(prometheus.NewRegistry()) })

// newModelStream returns a stream on rpc whose server has no connection at all.
func newModelStream(rpc client.ProxyService_ProxyClient, cancel context.CancelFunc) *stream {
	d := &Dialer{log: slog.New(slog.DiscardHandler), metrics: modelMetrics()}
	s := &server{Server: options.Server{Name: "model"}, dialer: d}
	l := &link{streams: 1}
	e := &endpoint{server: s, link: l}
	return e.newStream(l, rpc, cancel)
}

// arrival is what a Recv returns.
type arrival struct {
	pkt *client.Packet
	err error
}

// fakeRPC is a Proxy stream as gRPC gives it, but for its embedded methods,
// which nobody may call. It fails the test where gRPC's rules for streams or
// the protocol's for clients are broken.
type fakeRPC struct {
	client.ProxyService_ProxyClient
	t   *testing.T
	log *journal

	//nolint:containedctx // it is the stream's, as in gRPC
	ctx      context.Context
	arrivals chan arrival
	broken   chan struct{} // closed when the server has ended the stream
	flow     chan struct{} // closed while the server reads

	sending, receiving atomic.Bool
	over               atomic.Bool // Recv has returned an error
	random             int64
	accepted           atomic.Bool // Recv has returned the success of the dial
	saw                map[client.PacketType]int
	wrote              strings.Builder // DATA, concatenated
}

// Recv implements client.ProxyService_ProxyClient. What has arrived and the end
// of the context are in no order, as in gRPC.
func (f *fakeRPC) Recv() (*client.Packet, error) {
	if f.receiving.Swap(true) {
		f.t.Error("two goroutines in Recv")
	}
	defer f.receiving.Store(false)
	if f.over.Load() {
		f.t.Error("Recv after the end of the stream")
	}
	var a arrival
	select {
	case a = <-f.arrivals:
	case <-f.ctx.Done():
		a.err = status.FromContextError(f.ctx.Err()).Err()
	}
	switch {
	case a.err != nil:
		f.over.Store(true)
	case a.pkt.Type == client.PacketType_DIAL_RSP:
		f.accepted.Store(true)
	}
	return a.pkt, a.err
}

// Send implements client.ProxyService_ProxyClient.
func (f *fakeRPC) Send(pkt *client.Packet) error {
	if f.sending.Swap(true) {
		f.t.Error("two goroutines in Send")
	}
	defer f.sending.Store(false)
	for _, end := range []<-chan struct{}{f.ctx.Done(), f.broken} {
		select {
		case <-end:
			return io.EOF
		default:
		}
	}
	select {
	case <-f.flow:
	case <-f.ctx.Done():
		return io.EOF
	case <-f.broken:
		return io.EOF
	}
	f.check(pkt)
	return nil
}

// check holds a packet of the client against the protocol.
func (f *fakeRPC) check(pkt *client.Packet) {
	said := pkt.Type.String()
	bad := func(why string) { f.t.Errorf("the client said %v: %s", pkt, why) }
	if (pkt.Type == client.PacketType_DIAL_REQ) != (len(f.saw) == 0) {
		bad("DIAL_REQ comes first, and once")
	}
	f.saw[pkt.Type]++
	switch pkt.Type {
	case client.PacketType_DIAL_REQ:
		req := pkt.GetDialRequest()
		f.random = req.Random
		if req.Protocol != "tcp" || req.Address != target.String() {
			bad("not what was dialled")
		}
		return
	case client.PacketType_DATA:
		data := pkt.GetData()
		said = fmt.Sprintf("%s %d", said, len(data.Data))
		f.wrote.Write(data.Data)
		if len(data.Data) == 0 || len(data.Data) > maxData || data.ConnectID != connID || !f.accepted.Load() {
			bad("not this connection's, empty or too large")
		}
		if f.saw[client.PacketType_CLOSE_REQ] > 0 {
			bad("behind CLOSE_REQ")
		}
	case client.PacketType_CLOSE_REQ:
		if pkt.GetCloseRequest().ConnectID != connID || f.saw[pkt.Type] > 1 || !f.accepted.Load() {
			bad("not this connection's, or said before")
		}
	case client.PacketType_DIAL_CLS:
		if pkt.GetCloseDial().Random != f.random || f.saw[pkt.Type] > 1 {
			bad("not this dial's, or said before")
		}
	default:
		bad("a client never says that")
	}
	f.log.add(logWire, "%s", said)
}

// journal is what was seen, and when.
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
	logWire           // what the server was told
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

// String is the journal, for people.
func (j *journal) String() string {
	var b strings.Builder
	for part, name := range [logs]string{"dial", "receive", "send", "wire", "cancel"} {
		fmt.Fprintf(&b, "  %-8s%s\n", name, strings.Join(j.lines[part], ", "))
	}
	return b.String()
}

// world is one script's stream, its app and its server.
type world struct {
	*journal
	t      *testing.T
	rpc    *fakeRPC
	stream *stream
	giveUp context.CancelFunc
	dialed atomic.Bool

	said     int // bytes that the target has said so far
	got      strings.Builder
	reading  atomic.Bool
	writing  atomic.Bool
	asked    strings.Builder // what the app has sent
	finished bool            // the server has ended the stream
}

// newWorld returns a world in which the app has just dialled.
func newWorld(t *testing.T) *world {
	w := &world{t: t, journal: &journal{start: time.Now()}}
	rpcCtx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	w.rpc = &fakeRPC{
		t: t, log: w.journal, ctx: rpcCtx, arrivals: make(chan arrival, 64),
		broken: make(chan struct{}), flow: make(chan struct{}), saw: map[client.PacketType]int{},
	}
	close(w.rpc.flow)
	context.AfterFunc(rpcCtx, func() { w.add(logCancel, "ended") })
	w.stream = newModelStream(w.rpc, cancel)
	ctx, giveUp := context.WithTimeout(t.Context(), dialBudget)
	w.giveUp = giveUp
	go func() {
		if err := w.stream.dial(ctx, target); err != nil {
			w.add(logDial, "%s", wordsOf(err))
			return
		}
		w.add(logDial, "ok")
		w.stream.endpoint.load.Add(1) // for the dial, as claim does
		w.dialed.Store(true)
	}()
	synctest.Wait()
	return w
}

// end closes what is still open, lets all graces pass, and checks that nothing
// is left.
func (w *world) end() {
	w.giveUp()
	synctest.Wait()
	if w.dialed.Load() {
		_ = w.stream.Close()
	}
	time.Sleep(10 * time.Second)
	done := make(chan struct{})
	go func() {
		w.stream.endpoint.server.dialer.background.Wait()
		close(done)
	}()
	synctest.Wait()
	select {
	case <-done:
	default:
		w.t.Fatalf("a goroutine of the stream is still there 10 s after its end")
	}
	switch {
	case w.rpc.ctx.Err() == nil:
		w.t.Error("the stream was never ended: the server keeps it for ever")
	case w.stream.endpoint.load.Load() != 0 || w.stream.link.streams != 0:
		w.t.Errorf("%d active connections and %d streams are left", w.stream.endpoint.load.Load(), w.stream.link.streams)
	case w.stream.status != statusGone:
		w.t.Errorf("client_connections still counts it as %q", w.stream.status)
	case w.reading.Load() || w.writing.Load():
		w.t.Error("a Receive or a Send never returned")
	}
	w.checkBytes()
}

// checkBytes holds that no byte was invented or reordered; the model says how
// many must have come.
func (w *world) checkBytes() {
	if got := w.got.String(); got != text(0, len(got)) {
		w.t.Errorf("the app got other bytes than the target sent: %.80q", got)
	}
	if wrote := w.rpc.wrote.String(); !strings.HasPrefix(w.asked.String(), wrote) {
		w.t.Errorf("the target got other bytes than the app sent: %.80q", wrote)
	}
}

// text returns n bytes from offset at on of what each side says.
func text(at, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((at + i) * 131 >> 3)
	}
	return string(b)
}

// arrive lets the client see pkt, or the stream's end.
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

// receive starts one Receive, or as many as it takes to see the end, unless one
// is under way.
func (w *world) receive(all bool) {
	if !w.dialed.Load() || w.reading.Swap(true) {
		return
	}
	go func() {
		defer w.reading.Store(false)
		for more := true; more; more = all {
			p, err := w.stream.Receive()
			if err != nil {
				w.add(logReceive, "%s", wordsOf(err))
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
		clear(p) // it does not hold on to it
		if err != nil {
			w.add(logSend, "%s", wordsOf(err))
			return
		}
		w.add(logSend, "ok")
	}()
}

// stall stops, or starts, the server's reading.
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

// wordsOf says what kind of error err is, as far as its kind is promised.
func wordsOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		if e.elsewhere {
			return string(e.Reason) + ", elsewhere"
		}
		return string(e.Reason)
	}
	isBroken, isProtocol := errors.Is(err, ErrBroken), errors.Is(err, ErrProtocol)
	switch {
	case err == io.EOF:
		return "end"
	case err == ErrClosed:
		return "closed"
	case isBroken && !isProtocol:
		return "broken"
	case isProtocol && !isBroken:
		return "protocol"
	default:
		return "unclassified: " + err.Error()
	}
}

var errGoingAway = status.Error(codes.Unavailable, "going away")
