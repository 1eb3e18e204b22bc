// SPDX-License-Identifier: Apache-2.0

package h2server

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// Config configures a Conn. All fields are required.
type Config struct {
	// Serve serves one stream, in a goroutine of its own. A stream that is open when it
	// returns is reset.
	Serve func(*Stream)
	// MaxStreams limits the calls of Serve that run at once. Further streams are refused.
	MaxStreams int
	// Memory bounds by how much the windows of the streams grow, and what waits to be
	// written. It is the client's share.
	Memory *Share
	// StartTimeout limits the wait for the client's first frame.
	StartTimeout time.Duration
	// PingInterval is how long nothing may arrive before the client is asked. PingTimeout
	// is how long it has for its answer.
	PingInterval, PingTimeout time.Duration
	// WriteTimeout limits one write. A client that reads nothing at all for so long is gone.
	WriteTimeout time.Duration
}

const (
	// connWindow is how much a client may send on all streams together that was not read
	// from the connection, in bytes. It is returned when it is read, and not when a handler
	// receives it. 100 MiB/s at 20 ms take 2 MiB.
	connWindow = 2 << 20
	// maxHeaderList is the greatest size of a request's header (RFC 9113 6.5.2), in bytes.
	maxHeaderList = 8 << 10
	// maxFrame is the greatest size of a frame's payload that is read. It is the default
	// of HTTP/2.
	maxFrame = 16 << 10
	// readBuffer is larger than a TLS record.
	readBuffer = 32 << 10
)

// Errors of a stream.
var (
	// ErrReset means that the client has reset the stream.
	ErrReset = errors.New("the client has reset the stream")
	// ErrGone means that the client's connection has ended.
	ErrGone = errors.New("the client's connection has ended")
	// ErrClosed means that the handler has ended the stream.
	ErrClosed = errors.New("the stream is closed")
	// ErrEnded means that Close was called. It is the end of a connection.
	ErrEnded = errors.New("the server has ended the connection")
)

// Fault is a violation of HTTP/2 by the client, for which the connection was ended.
type Fault struct {
	Code http2.ErrCode
	Text string
}

// Error implements error.
func (f *Fault) Error() string { return fmt.Sprintf("%s: %s", f.Code, f.Text) }

// Conn is one connection of a client.
type Conn struct {
	cfg    Config
	conn   net.Conn
	socket *Socket // below conn, or nil
	reader frameReader
	framer *http2.Framer
	serves sync.WaitGroup
	ended  chan struct{} // closed by end
	floods floods        // of the reading goroutine

	mu         sync.Mutex // guards everything below, and the fields of streams
	streams    map[uint32]*Stream
	settled    bool   // the client has acknowledged our SETTINGS
	serving    int    // calls of Serve
	lastID     uint32 // the highest of a stream that was begun
	sendWindow int64  // what may be sent on all streams together, in bytes
	peerWindow int64  // SETTINGS_INITIAL_WINDOW_SIZE of the client
	peerFrame  int    // SETTINGS_MAX_FRAME_SIZE of the client
	unreturned int    // bytes of connWindow that were read and not returned
	err        error  // why the connection has ended
	away       goAwayState
	heard      time.Time // when the last frame arrived
	pinged     time.Time // when the unanswered PING was sent, or zero
	out        output
}

// goAwayState says which GOAWAY was sent.
type goAwayState int

const (
	stays   goAwayState = iota
	leaving             // streams that are on their way are served
	left                // no further streams are served
)

// New returns the server's side of a connection that was not read or written yet. socket
// is the one below TLS, or nil.
func New(conn net.Conn, socket *Socket, cfg Config) *Conn {
	c := &Conn{
		cfg: cfg, conn: conn, socket: socket, streams: map[uint32]*Stream{},
		sendWindow: defaultWindow, peerWindow: defaultWindow, peerFrame: maxFrame, heard: time.Now(),
		floods: newFloods(cfg.MaxStreams), ended: make(chan struct{}),
	}
	c.out.space.L = &c.mu
	// Whatever is written first, these are before it.
	c.out.pending = appendWindowUpdate(appendSettings(nil,
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(cfg.MaxStreams)},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: firstWindow},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHeaderList},
	), 0, connWindow-defaultWindow)
	if socket != nil {
		socket.large()
	}
	c.reader.from = bufio.NewReaderSize(conn, readBuffer)
	c.framer = http2.NewFramer(nil, &c.reader)
	c.framer.SetMaxReadFrameSize(maxFrame)
	c.framer.SetReuseFrames()
	c.framer.ReadMetaHeaders = newDecoder()
	c.framer.MaxHeaderListSize = maxHeaderList
	return c
}

// defaultWindow is the window of a connection, and of a stream without other settings
// (RFC 9113 6.9.2), in bytes.
const defaultWindow = 1<<16 - 1

// Run serves until the connection ends, and then until all calls of Serve have returned.
// It returns nil after GoAway or a client's orderly end, a *Fault, ErrEnded after Close, or
// why the connection broke.
func (c *Conn) Run() error {
	stop := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.watch(stop)
	}()
	err := c.read()
	close(stop)
	<-watched
	if fault, ok := errors.AsType[*Fault](err); ok {
		c.accuse(fault)
	}
	c.end(err)
	c.serves.Wait()
	return c.reason()
}

// refuseTimeout limits the write of Refuse. A new connection has room for it.
const refuseTimeout = time.Second

// Refuse ends a connection instead of Run, and tells the client why. It reads nothing.
func (c *Conn) Refuse(code http2.ErrCode, text string) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(refuseTimeout)) // fails if closed, as the write does
	_, _ = c.conn.Write(appendGoAway(c.out.pending, 0, code, text))
	_ = c.conn.Close()
}

// Ended returns a channel that is closed when the connection has ended. Run may still wait
// for calls of Serve then. A stream that has ended before in both directions does not fail:
// its handler gets the rest of what the client has sent.
func (c *Conn) Ended() <-chan struct{} { return c.ended }

// Close ends the connection at once. Serve's streams fail with ErrGone.
func (c *Conn) Close() { c.end(ErrEnded) }

// accuse tells the client why the connection ends.
func (c *Conn) accuse(fault *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !c.out.writing {
		c.out.pending = appendGoAway(c.out.pending, c.lastID, fault.Code, fault.Text)
		c.write()
	}
}

// Orderly ends of a connection.
var (
	// errLeft is the end after GOAWAY and the last stream.
	errLeft = errors.New("all streams have ended after GOAWAY")
	// errOrderly is the end by the client, between two frames.
	errOrderly = errors.New("the client has ended the connection")
)

// reason returns why the connection has ended.
func (c *Conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(c.err, errLeft) || errors.Is(c.err, errOrderly) {
		return nil
	}
	return c.err
}

// end ends the connection, and its streams with ErrGone. The first err stays.
func (c *Conn) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	close(c.ended)
	c.narrow()
	for _, s := range c.streams {
		s.fail(ErrGone)
	}
	clear(c.streams)
	c.out.space.Broadcast()
	c.mu.Unlock()
	if c.socket != nil && !errors.Is(err, errLeft) {
		_ = c.socket.Close() // without close_notify, which says that nothing is lost
		return
	}
	_ = c.conn.Close()
}

// GoAway tells the client to begin no further streams here. The connection ends when all
// streams have ended. The client has a moment for streams that are on their way.
func (c *Conn) GoAway() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.away != stays {
		return
	}
	c.away = leaving
	c.control(appendGoAway(nil, 1<<31-1, http2.ErrCodeNo, ""))
	time.AfterFunc(awayGrace, c.leave)
}

// awayGrace is the time for streams that are on their way when GOAWAY is sent.
const awayGrace = 500 * time.Millisecond

// leave sends the second GOAWAY, after which no stream is served.
func (c *Conn) leave() {
	c.mu.Lock()
	if c.err != nil || c.away != leaving {
		c.mu.Unlock()
		return
	}
	c.away = left
	c.control(appendGoAway(nil, c.lastID, http2.ErrCodeNo, ""))
	over := len(c.streams) == 0
	c.mu.Unlock()
	if over {
		c.finish()
	}
}

// finish ends a connection that the last stream has left, after everything was written.
func (c *Conn) finish() {
	c.mu.Lock()
	for c.err == nil && (c.out.writing || len(c.out.pending) > 0) {
		c.out.space.Wait()
	}
	c.mu.Unlock()
	c.end(errLeft)
}

// watch asks a silent client whether it is there, until stop is closed.
func (c *Conn) watch(stop <-chan struct{}) {
	ticker := time.NewTicker(c.cfg.PingInterval / 4)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-ticker.C:
			if c.isGone(now) {
				c.end(errSilent)
			}
		}
	}
}

// errSilent is the end of a connection whose client does not answer a PING.
var errSilent = errors.New("the client does not answer a PING")

// isGone sends a PING if nothing was heard for long. It reports whether the client has not
// answered one in time.
func (c *Conn) isGone(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trim()
	switch {
	case c.err != nil || now.Sub(c.heard) < c.cfg.PingInterval:
		return false
	case c.pinged.IsZero():
		c.pinged = now
		c.control(appendPing(nil, 0, [8]byte{}))
		return false
	default:
		return now.Sub(c.pinged) >= c.cfg.PingTimeout
	}
}
