// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// readBufferBytes is the size of the buffer from which frames are read.
	readBufferBytes = 64 << 10
	// MaxFrame is the longest frame that the server may send, in bytes. It is the default of
	// HTTP/2 (RFC 9113, section 6.5.2).
	MaxFrame = 16 << 10
	// initialWindowBytes is the size of a window before any setting or window update
	// (RFC 9113, section 6.9.2). maxWindowBytes is the largest size of a window.
	initialWindowBytes = 64<<10 - 1
	maxWindowBytes     = 1<<31 - 1
	// lastStreamID is the highest stream number that a connection can carry.
	lastStreamID = 1<<31 - 1
	// reservedStreams is how many streams are left when Draining is called because the
	// numbers run out. Callers that have already chosen the connection use them.
	reservedStreams = 1000
)

// Config configures a Conn. The first three fields are required.
type Config struct {
	StreamWindow     int    // maximum bytes that the server may send on a new stream
	ConnectionWindow int    // maximum bytes in flight on all streams
	MaxHeaders       uint32 // maximum bytes of an answer's headers, counted as in RFC 9113, section 6.5.2

	// FirstStreamID is the odd number of the first stream. 0 means 1. Only tests set
	// another.
	FirstStreamID uint32

	// Draining is called once, when the connection takes no more streams or soon will
	// not. Run or Open calls it. It must not wait.
	Draining func()
	// LimitRaised is called from Run when the server raises its limit of concurrent
	// streams. It must not wait.
	LimitRaised func()
}

// Handler receives the events of one stream. Run calls its methods, one at a time. They
// must not wait. They may call Conn.Close, but must not then wait for Run.
type Handler interface {
	// Headers is called with the headers of the answer, and then with its trailers.
	// Both satisfy RFC 9113, sections 8.1 to 8.3. Interim responses are left out.
	Headers(f *http2.MetaHeadersFrame, trailers bool)
	// Data is called with the bytes of each DATA frame. p is valid until Data returns.
	// The frame uses len(p) bytes of the stream's window, and padding more. end says
	// that the server has ended its direction.
	Data(p []byte, padding int, end bool)
	// Arrived is called after NoteArrival, when no more can be read without waiting. It is
	// also called when SetStreamWindow has made the stream's window smaller.
	Arrived()
	// End is called when the server or the connection has ended the stream, or when the
	// handler has called Abort or EndInOrder. It is not called after Reset, or if both
	// sides have ended their directions.
	End(err error)
}

// Conn is one HTTP/2 connection. All its methods may be called concurrently.
type Conn struct {
	cfg    Config
	conn   net.Conn
	socket *Socket // below conn, or nil
	sink   sink
	ready  chan struct{} // closed when the server's settings have arrived, or Run has ended

	// Used only by Run:
	in              *bufio.Reader
	framer          *http2.Framer // only reads
	decoder         *hpack.Decoder
	lastLookup      *Stream   // what lookup found last
	arrivals        []*Stream // have received something since Arrived was last called
	recvWindow      int       // bytes that the server may still send on all streams
	unreturnedBytes int       // received bytes that are not returned to the window yet
	goAwayLastID    uint32    // last stream ID of the latest GOAWAY
	goAwayReason    string    // error code and text of that GOAWAY

	streamsMutex sync.Mutex
	streams      map[uint32]*Stream

	gotSettings atomic.Bool   // the server's settings have arrived
	reads       atomic.Uint64 // from conn that have returned something

	drainingOnce sync.Once // for calling Config.Draining

	mu            sync.Mutex
	err           error // why nothing can be sent any more
	draining      bool
	nextID        uint32
	maxStreams    uint32 // concurrent streams that the server allows
	out           []byte // frames that no goroutine has begun to write
	spareOut      []byte // becomes out while the previous out is written
	queuedAnswers int    // frames in out that answer the server's SETTINGS and PING
	writing       bool   // a goroutine is writing; the others only append to out
	handedOff     bool   // the writing goroutine is flushLoop
	writeFailed   bool   // a write has failed
	flushLoopCond sync.Cond
	writeDone     sync.Cond // writing became false, handedOff became true, or the connection ended
	waitQueue     []*Stream // streams that wait for space in out, or for the connection's window
	nextSender    *Stream   // was the first in waitQueue, and sends before all others
	peer          peer
	window        ownWindow
	encoder       *hpack.Encoder // writes to block
	block         bytes.Buffer
}

// peer holds what the server allows.
type peer struct {
	window       int // bytes on all streams
	streamWindow int // bytes on a new stream
	frame        int // bytes in one frame
}

// New returns a client that speaks HTTP/2 on conn. On conn only the TLS handshake may
// have taken place. socket is the connection below TLS, or conn itself without TLS. If
// socket is nil, flushLoop does all writing.
func New(conn net.Conn, socket *Socket, cfg Config) *Conn {
	c := &Conn{
		cfg: cfg, conn: conn, ready: make(chan struct{}), streams: map[uint32]*Stream{},
		recvWindow: cfg.ConnectionWindow, nextID: max(1, cfg.FirstStreamID), maxStreams: maxWindowBytes,
		peer: peer{window: initialWindowBytes, streamWindow: initialWindowBytes, frame: MaxFrame}, goAwayLastID: lastStreamID,
	}
	c.window = ownWindow{wanted: cfg.StreamWindow, sent: cfg.StreamWindow, unacked: true, since: time.Now()}
	c.flushLoopCond.L, c.writeDone.L = &c.mu, &c.mu
	c.encoder = hpack.NewEncoder(&c.block)
	c.sink = &waitingSink{conn: conn}
	if socket != nil {
		socket.beforeRead = c.beforeRead
		c.sink, c.socket = socketSink{conn, socket}, socket
	}
	c.in = bufio.NewReaderSize((*source)(c), readBufferBytes)
	c.framer = http2.NewFramer(nil, c.in)
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(MaxFrame)
	c.decoder = hpack.NewDecoder(4096, nil)
	c.decoder.SetMaxStringLength(int(cfg.MaxHeaders))
	c.out = appendPreface(c.out, cfg)
	return c
}

// Run reads until the connection ends. It returns when all goroutines and streams of
// the connection have ended. It must be called once.
func (c *Conn) Run() {
	var flushing sync.WaitGroup
	flushing.Go(c.flushLoop)
	c.mu.Lock()
	c.flush()
	c.mu.Unlock()
	err := c.read()
	c.beforeRead()
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

// Ready waits for the server's settings. If ctx ends first, Ready closes the
// connection.
func (c *Conn) Ready(ctx context.Context) error {
	select {
	case <-c.ready:
		if !c.gotSettings.Load() {
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

// Open opens s, whose events h receives. fields are the headers of the request. If end is
// set, they end our direction. The server learns of the stream with the next flush.
func (c *Conn) Open(s *Stream, h Handler, fields []hpack.HeaderField, end bool) error {
	err := c.add(s, h, fields, end)
	if err == nil && s.id >= lastStreamID-2*reservedStreams {
		c.notifyDraining()
	}
	return err
}

func (c *Conn) add(s *Stream, h Handler, fields []hpack.HeaderField, end bool) error {
	flags := http2.FlagHeadersEndHeaders
	if end {
		flags |= http2.FlagHeadersEndStream
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checkQueued()
	switch {
	case c.err != nil:
		return c.err
	case c.draining:
		return failed(Lost, ErrUnprocessed, "the server has sent GOAWAY")
	case c.nextID > lastStreamID:
		return failed(NoStream, ErrUsedUp, "%v: it has carried as many as there can be", ErrUsedUp)
	}
	c.streamsMutex.Lock()
	defer c.streamsMutex.Unlock()
	if uint32(len(c.streams)) >= c.maxStreams {
		return failed(NoStream, ErrFull, "%v: the server allows %d at once", ErrFull, c.maxStreams)
	}
	s.conn, s.handler, s.closed = c, h, end
	s.changed.L = &c.mu
	s.sendWindow = c.peer.streamWindow
	s.recvWindow.Store(int64(c.window.sent))
	s.id = c.nextID
	c.nextID += 2
	c.streams[s.id] = s
	c.block.Reset()
	for _, f := range fields {
		_ = c.encoder.WriteField(f) // cannot fail: it writes to memory
	}
	c.out = appendFrame(c.out, c.block.Len(), http2.FrameHeaders, flags, s.id)
	c.out = append(c.out, c.block.Bytes()...)
	return nil
}

// Ping sends a PING with this payload. Reads counts the answer.
func (c *Conn) Ping(payload [8]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.out = appendPing(c.out, 0, payload)
		c.flush()
	}
}

// Reads returns how many times Run has read from the connection. If the number grows,
// the server is alive.
func (c *Conn) Reads() uint64 { return c.reads.Load() }

// Fail ends the connection and all its streams, because of err. It does not wait for
// Run.
func (c *Conn) Fail(err error) {
	c.mu.Lock()
	c.stop(failed(Lost, err, "%v", err))
	c.mu.Unlock()
	_ = c.conn.Close()
}

// Streams returns how many streams are open.
func (c *Conn) Streams() int {
	c.streamsMutex.Lock()
	defer c.streamsMutex.Unlock()
	return len(c.streams)
}

// Limit returns how many concurrent streams the server allows.
func (c *Conn) Limit() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(min(c.maxStreams, maxWindowBytes))
}

// Close ends the connection and all its streams. It does not wait for Run, which
// returns soon after.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.sendGoAway(http2.ErrCodeNo)
	c.stop(failed(Closed, ErrClosed, "%v", ErrClosed))
	c.mu.Unlock()
	return c.conn.Close()
}

// stop makes every further send fail with err. The caller holds mu.
func (c *Conn) stop(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.flushLoopCond.Signal()
	c.writeDone.Broadcast()
	c.streamsMutex.Lock()
	defer c.streamsMutex.Unlock()
	for _, s := range c.streams {
		s.changed.Broadcast()
	}
}

// fail stops the connection after Run's reading ended with err, and returns the open
// streams.
func (c *Conn) fail(err error) []*Stream {
	c.mu.Lock()
	if code, ok := errors.AsType[http2.ConnectionError](err); ok {
		c.sendGoAway(http2.ErrCode(code))
	}
	why := failed(Lost, err, "error reading from server: %v", err)
	c.stop(why)
	if c.writeFailed && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(c.err, errNotReading) {
		c.err = why // the reading error says more than the writing error
	}
	c.mu.Unlock()
	c.streamsMutex.Lock()
	defer c.streamsMutex.Unlock()
	streams := make([]*Stream, 0, len(c.streams))
	for _, s := range c.streams {
		streams = append(streams, s)
	}
	return streams
}

// drain refuses further streams, and calls Config.Draining.
func (c *Conn) drain() {
	c.mu.Lock()
	c.draining = true
	c.mu.Unlock()
	c.notifyDraining()
}

// notifyDraining calls Config.Draining, once.
func (c *Conn) notifyDraining() {
	c.drainingOnce.Do(func() {
		if c.cfg.Draining != nil {
			c.cfg.Draining()
		}
	})
}

// lookup returns the open stream with this ID, or nil.
func (c *Conn) lookup(id uint32) *Stream {
	if s := c.lastLookup; s != nil && s.id == id && !s.removed.Load() {
		return s
	}
	c.streamsMutex.Lock()
	defer c.streamsMutex.Unlock()
	s := c.streams[id]
	c.lastLookup = s
	return s
}

// remove takes s out of streams, and reports whether it was there.
func (c *Conn) remove(s *Stream) bool {
	c.streamsMutex.Lock()
	defer c.streamsMutex.Unlock()
	if c.streams[s.id] != s {
		return false
	}
	delete(c.streams, s.id)
	s.removed.Store(true)
	return true
}
