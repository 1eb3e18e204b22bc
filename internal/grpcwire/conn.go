// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

const (
	// readBuffer is how many bytes of frames are read at once.
	readBuffer = 64 << 10
	// maxFrame is the longest frame that the server may send: the value that
	// holds where no other is said (RFC 9113, section 6.5.2).
	maxFrame = 16 << 10
	// initialWindow is what a window has before anybody has said anything
	// (RFC 9113, section 6.9.2), and maxWindow what it may have at most.
	initialWindow = 64<<10 - 1
	maxWindow     = 1<<31 - 1
	// lastStreamID is the last stream that a connection can carry.
	lastStreamID = 1<<31 - 1
	// reserveStreams are the last streams, for callers that have chosen the
	// connection before they can know that it takes no more.
	reserveStreams = 1000
)

// Config is what a Conn needs to know. All fields but MaxFirst and the last two are
// required.
type Config struct {
	Scheme    string // https, or http where there is no TLS
	Authority string // the host that is asked for
	Path      string // of the method: /package.Service/Method
	UserAgent string

	StreamWindow     int    // bytes that the server may send on a stream ahead of Stream.Taken
	ConnectionWindow int    // bytes on their way at most
	MaxMessage       int    // bytes that a message has at most
	MaxFirst         int    // bytes that the first message of a stream has at most; 0 stands for MaxMessage
	MaxHeaders       uint32 // bytes that the headers of an answer have at most, as RFC 9113, section 6.5.2, counts them

	// FirstStream is the odd number of the first stream; 0 stands for 1. Only tests
	// need another.
	FirstStream uint32

	// Draining is called once when the connection takes no more streams, or will
	// soon take none: from Run, or from Open. It must not wait.
	Draining func()
	// Grown is called from Run when the server allows more streams at once than before.
	// It must not wait.
	Grown func()
}

// Handler is who a stream belongs to. Its methods are called from Run, one at a
// time, and must neither wait nor call Run's Conn.Close and wait for Run.
type Handler interface {
	// Message is called with each message of the server, which is valid until it
	// returns. It costs Cost of its window, to be given back by Stream.Taken.
	Message(p []byte)
	// Arrived is called behind one or more calls of Message, when nothing more is
	// there that could be read without waiting.
	Arrived()
	// End is called when the server, or the connection, has ended the stream, and
	// not after Cancel. It is io.EOF where the server's status is OK, else a status
	// of gRPC's.
	End(err error)
}

// Holder is a Handler that counts what the connection holds for its stream.
type Holder interface {
	// Holds says that so many bytes more are held of a message of which not all is
	// here, or fewer where by is negative. It is called from Run, and must not wait.
	Holds(by int)
}

// Conn is one HTTP/2 connection. Its methods may be called from anywhere.
type Conn struct {
	cfg   Config
	conn  net.Conn
	under *Socket // below conn, or nil
	sink  sink
	ready chan struct{} // closed when the server's settings are here, or Run has ended

	// Of Run alone:
	in         *bufio.Reader
	framer     *http2.Framer // only reads
	decoder    *hpack.Decoder
	latest     *Stream   // that got something
	fresh      []*Stream // that got something since they were last woken
	window     int       // bytes that the server may send on all streams
	unreturned int       // of those that came
	lastID     uint32    // of the last GOAWAY
	farewell   string    // what it gave as a reason
	spare      []byte    // for a message that came in pieces

	table   sync.Mutex
	streams map[uint32]*Stream

	heard atomic.Bool // the server's settings are here

	told sync.Once // that there are no more streams

	mu       sync.Mutex
	err      error // why nothing can be sent any more
	draining bool
	nextID   uint32
	most     uint32 // streams at once
	out      []byte // frames that nobody has begun to write
	back     []byte // a buffer for out, while what was in it is written
	answers  int    // frames in out that the server has asked for
	writing  bool   // somebody writes; the others leave their frames in out
	left     bool   // and it is flushLoop
	mute     bool   // nothing could be written
	flusher  sync.Cond
	written  sync.Cond // writing has become false, or left true, or the connection has ended
	waiting  []*Stream // for room, or for the connection's window
	turn     *Stream   // was the first of them, and goes ahead of all others
	peer     peer
	encoder  *hpack.Encoder // into block
	block    bytes.Buffer
}

// peer is what the server allows.
type peer struct {
	window       int // bytes on all streams
	streamWindow int // bytes on a new stream
	frame        int // bytes in one frame
}

// New returns a client on conn, on which nothing was said but what belongs to
// TLS. socket is what conn reads from and writes to, which may be conn itself. Where
// it is nil, a goroutine writes.
func New(conn net.Conn, socket *Socket, cfg Config) *Conn {
	c := &Conn{
		cfg: cfg, conn: conn, ready: make(chan struct{}), streams: map[uint32]*Stream{},
		window: cfg.ConnectionWindow, nextID: max(1, cfg.FirstStream), most: maxWindow,
		peer: peer{window: initialWindow, streamWindow: initialWindow, frame: maxFrame}, lastID: lastStreamID,
	}
	c.flusher.L, c.written.L = &c.mu, &c.mu
	c.encoder = hpack.NewEncoder(&c.block)
	c.sink = &waitingSink{conn: conn}
	if socket != nil {
		socket.before = c.wake
		c.sink, c.under = socketSink{conn, socket}, socket
	}
	c.in = bufio.NewReaderSize((*source)(c), readBuffer)
	c.framer = http2.NewFramer(nil, c.in)
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(maxFrame)
	c.decoder = hpack.NewDecoder(4096, nil)
	c.decoder.SetMaxStringLength(int(cfg.MaxHeaders))
	c.out = appendPreface(c.out, cfg)
	return c
}

// Run reads until the connection ends, and returns when all that belongs to it
// has. It must be called once.
func (c *Conn) Run() {
	var flushing sync.WaitGroup
	flushing.Go(c.flushLoop)
	c.mu.Lock()
	c.flush()
	c.mu.Unlock()
	err := c.read()
	c.wake()
	c.drain()
	streams := c.fail(err)
	_ = c.conn.Close()
	for _, s := range streams {
		c.end(s, c.Err())
	}
	select {
	case <-c.ready:
	default:
		close(c.ready)
	}
	flushing.Wait()
}

// Ready waits until the server has answered. Where it has not when ctx ends, the
// connection is closed.
func (c *Conn) Ready(ctx context.Context) error {
	select {
	case <-c.ready:
		if !c.heard.Load() {
			return c.Err()
		}
		return nil
	case <-ctx.Done():
		_ = c.Close()
		return context.Cause(ctx)
	}
}

// Err returns why the connection has ended, or nil.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Open opens a stream, of which the server hears with the first Send.
func (c *Conn) Open(h Handler) (*Stream, error) { return c.open(c.cfg.Path, h, false) }

// open is Open for the method at path. If nothing will be sent, the headers end our side
// of the stream.
func (c *Conn) open(path string, h Handler, nothing bool) (*Stream, error) {
	s, err := c.begin(path, h, nothing)
	if err == nil && s.id >= lastStreamID-2*reserveStreams {
		c.tell()
	}
	return s, err
}

func (c *Conn) begin(path string, h Handler, nothing bool) (*Stream, error) {
	s := &Stream{conn: c, handler: h, window: c.cfg.StreamWindow, eager: true, closed: nothing}
	flags := http2.FlagHeadersEndHeaders
	if nothing {
		flags |= http2.FlagHeadersEndStream
	}
	s.holder, _ = h.(Holder)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hear()
	switch {
	case c.err != nil:
		return nil, c.err
	case c.draining:
		return nil, failed(codes.Unavailable, ErrUnprocessed, "the server has sent GOAWAY")
	case c.nextID > lastStreamID:
		return nil, failed(codes.ResourceExhausted, ErrUsedUp, "%v: it has carried as many as there can be", ErrUsedUp)
	}
	s.changed.L = &c.mu
	s.allowed = c.peer.streamWindow
	c.table.Lock()
	defer c.table.Unlock()
	if uint32(len(c.streams)) >= c.most {
		return nil, failed(codes.ResourceExhausted, ErrFull, "%v: the server allows %d at once", ErrFull, c.most)
	}
	s.id = c.nextID
	c.nextID += 2
	c.streams[s.id] = s
	c.block.Reset()
	c.encodeHeaders(path)
	c.out = appendFrame(c.out, c.block.Len(), http2.FrameHeaders, flags, s.id)
	c.out = append(c.out, c.block.Bytes()...)
	return s, nil
}

// encodeHeaders puts the headers of a request for path into c.block. The caller
// holds mu.
func (c *Conn) encodeHeaders(path string) {
	for _, f := range [...]hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: c.cfg.Scheme},
		{Name: ":path", Value: path},
		{Name: ":authority", Value: c.cfg.Authority},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "user-agent", Value: c.cfg.UserAgent},
		{Name: "te", Value: "trailers"},
	} {
		_ = c.encoder.WriteField(f) // into memory
	}
}

// Streams returns how many streams are open.
func (c *Conn) Streams() int {
	c.table.Lock()
	defer c.table.Unlock()
	return len(c.streams)
}

// Limit returns how many streams the server allows at once.
func (c *Conn) Limit() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(min(c.most, maxWindow))
}

// Close ends the connection and all its streams. It does not wait: Run returns
// soon after.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.sayGoodbye(http2.ErrCodeNo)
	c.stop(failed(codes.Canceled, ErrClosed, "%v", ErrClosed))
	c.mu.Unlock()
	return c.conn.Close()
}

// stop lets nothing more be sent, for err. The caller holds mu.
func (c *Conn) stop(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.flusher.Signal()
	c.written.Broadcast()
	c.table.Lock()
	defer c.table.Unlock()
	for _, s := range c.streams {
		s.changed.Broadcast()
	}
}

// fail stops the connection after its end, and returns the streams that it
// carried.
func (c *Conn) fail(err error) []*Stream {
	c.mu.Lock()
	if code, ok := errors.AsType[http2.ConnectionError](err); ok {
		c.sayGoodbye(http2.ErrCode(code))
	}
	why := failed(codes.Unavailable, err, "error reading from server: %v", err)
	c.stop(why)
	if c.mute && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(c.err, errDeaf) {
		c.err = why // says more than that nothing could be written
	}
	c.mu.Unlock()
	c.table.Lock()
	defer c.table.Unlock()
	streams := make([]*Stream, 0, len(c.streams))
	for _, s := range c.streams {
		streams = append(streams, s)
	}
	return streams
}

// drain is called by Run when no more streams can be opened.
func (c *Conn) drain() {
	c.mu.Lock()
	c.draining = true
	c.mu.Unlock()
	c.tell()
}

// tell calls Draining, once.
func (c *Conn) tell() {
	c.told.Do(func() {
		if c.cfg.Draining != nil {
			c.cfg.Draining()
		}
	})
}

// lookup returns the open stream with an id, or nil.
func (c *Conn) lookup(id uint32) *Stream {
	if s := c.latest; s != nil && s.id == id && !s.over.Load() {
		return s
	}
	c.table.Lock()
	defer c.table.Unlock()
	s := c.streams[id]
	c.latest = s
	return s
}

// remove takes s out of the table, and reports whether it was there.
func (c *Conn) remove(s *Stream) bool {
	c.table.Lock()
	defer c.table.Unlock()
	if c.streams[s.id] != s {
		return false
	}
	delete(c.streams, s.id)
	s.over.Store(true)
	return true
}
