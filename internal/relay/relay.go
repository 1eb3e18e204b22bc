// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/sockio"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// segmentBytes is the size of the segments that hold bytes for an app.
	segmentBytes = 32 << 10
	// closeDelay is the minimum time between the last byte sent and the close of the
	// tunnel, for an app that has closed. An agent that is told to close drops what it
	// has queued for the target, and it acknowledges nothing.
	closeDelay = 2 * time.Second
	// appStateInterval is how often the state of an app is read that seems to be
	// half-closed.
	appStateInterval = 2 * time.Second
)

// Tunnel is the tunnelled connection; see tunnel.Conn.
type Tunnel interface {
	Receive() ([]byte, error)
	Send(p []byte) error
	Close() error
}

// Carrier is a Tunnel that carries more than bytes; see tunnel.Carrier.
type Carrier interface {
	Tunnel
	Traits() tunnel.Traits
	CloseWrite() error
	Abort() error
}

// Options are the limits of one relay.
type Options struct {
	// HalfCloseTimeout is how long nothing may move after the app's FIN until the app
	// is reset. It is also how long an app may take to close after the target has
	// closed.
	HalfCloseTimeout time.Duration
	// IdleTimeout is how long nothing may move in either direction until the app is
	// reset. The reset may come up to a quarter later. 0 means no limit.
	IdleTimeout time.Duration
	// Buffers limits what is held for apps that read slowly.
	Buffers *Buffers
	// Pacer is shared by all connections of the proxy-server.
	Pacer *Pacer
	// AppState returns the app's state after its FIN.
	AppState func() AppState
	// SentEarly is how many bytes of the app were sent before Start.
	SentEarly int

	hurry int // divides the waits that no option sets; for tests
}

// wait returns how long to wait instead of d, which no option sets.
func (o *Options) wait(d time.Duration) time.Duration {
	return d / time.Duration(max(1, o.hurry))
}

// Result says how a relay ended.
type Result struct {
	Reason   CloseReason
	Sent     int64 // bytes from the app that the tunnel accepted
	Received int64 // bytes of the target that the app's kernel accepted
	Err      error // the cause of an end that was not orderly
}

// Start relays in its own goroutines until both directions are done, closes both
// connections, and then calls done. Start returns at once.
//
// One goroutine reads from the app and one from the target. Their stacks are most of
// the memory of an idle connection, so their loops call nothing deep while they wait.
func Start(ctx context.Context, app *net.TCPConn, tun Tunnel, opt Options, done func(Result)) Monitor {
	if carrier, ok := tun.(Carrier); ok && carrier.Traits().Backpressure {
		return newDirect(app, carrier, opt).start(ctx, done)
	}
	return newBuffered(app, tun, opt).start(ctx, done)
}

// Run calls Start, and waits for the end.
func Run(ctx context.Context, app *net.TCPConn, tun Tunnel, opt Options) Result {
	result := make(chan Result, 1)
	Start(ctx, app, tun, opt, func(r Result) { result <- r })
	return <-result
}

// disarmed is the SetLinger argument after which a close sends FIN again.
const disarmed = -1

// Arm makes each later close of app a reset, also by the kernel after the process is
// killed. Otherwise the kernel would send FIN, and the app would take a part of the
// answer for all of it. An orderly end undoes Arm first.
func Arm(app *net.TCPConn) error { return app.SetLinger(0) }

// Reset closes app so that its peer gets RST (tcp(7), SO_LINGER with a time of zero),
// never an end of file.
func Reset(app *net.TCPConn) error {
	return errors.Join(Arm(app), app.Close())
}

// way is what relays do differently, by what their tunnels carry.
type way interface {
	// download moves the target's bytes to the app until the target ends.
	download()
	// forward sends p to the target. It reports whether to continue reading.
	forward(p []byte) bool
	// appEnded handles the app's FIN. Nothing more is read from the app.
	appEnded()
	// release frees what is left when both directions are done.
	release()
	// held returns how many bytes of the target the app has not taken.
	held() int
}

// relay is the state that both directions share, whatever the tunnel carries.
type relay struct {
	way way
	app *net.TCPConn
	raw syscall.RawConn // of app
	tun Tunnel
	opt Options

	stop     func() bool // stops waiting for the context's end
	stopIdle func()
	done     func(Result)
	running  atomic.Int32 // directions that are not done

	account *quota.Account // counts the bytes held for app and target
	writer  sockio.Writer  // to app

	sent, received atomic.Int64
	started        time.Time   // lastMove and lastSent are relative to it
	lastMove       moment      // when a byte last moved
	lastSent       moment      // when a byte was last sent to the target
	appFinished    atomic.Bool // the app's FIN was seen
	sentAll        atomic.Bool // the tunnel has all that the app sent, and carries no resets
	appGone        atomic.Bool // the app has closed
	appFirst       bool        // the app's FIN was passed on before the target ended; set by upload

	targetDone chan struct{} // closed when Receive has ended

	concludeOnce sync.Once
	ended        chan struct{} // closed by conclude
	reason       CloseReason
	err          error
}

// init prepares r, which is a part of way.
func (r *relay) init(way way, app *net.TCPConn, tun Tunnel, opt Options, account *quota.Account) {
	r.way, r.app, r.tun, r.opt, r.account = way, app, tun, opt, account
	r.started, r.targetDone, r.ended = time.Now(), make(chan struct{}), make(chan struct{})
	r.raw, _ = app.SyscallConn() // fails only for a nil connection
	r.writer.Init(r.raw)
	r.noteMove()
	r.lastSent.setNever()
	if opt.SentEarly > 0 {
		r.sent.Store(int64(opt.SentEarly))
		r.lastSent.set(r.started, r.started)
	}
}

// start starts both directions.
func (r *relay) start(ctx context.Context, done func(Result)) Monitor {
	_ = Arm(r.app)
	r.stop = context.AfterFunc(ctx, func() { r.abort(Drain, context.Cause(ctx)) })
	r.stopIdle = r.watchIdle()
	r.done = done
	r.running.Store(2)
	go r.upload()
	go r.way.download()
	return Monitor{r}
}

// finishDirection ends a direction. The last one closes what is still open, and calls
// done.
func (r *relay) finishDirection() {
	if r.running.Add(-1) > 0 {
		return
	}
	r.stopIdle()
	if r.appFirst {
		r.conclude(AppClosed, nil)
	}
	r.conclude(TargetClosed, nil)
	_ = r.tun.Close()
	// After Reset app is closed already, and this does nothing.
	_ = r.app.SetLinger(disarmed)
	_ = r.app.Close()
	r.stop()
	r.account.Close()
	r.way.release()
	r.done(Result{Reason: r.reason, Err: r.err, Sent: r.sent.Load(), Received: r.received.Load()})
}

func (r *relay) noteMove() { r.lastMove.set(r.started, time.Now()) }

// conclude sets the reason and the error. Only the first call counts.
func (r *relay) conclude(reason CloseReason, err error) {
	r.concludeOnce.Do(func() {
		r.reason, r.err = reason, err
		close(r.ended)
	})
}

// abort ends both sides at once, the app with RST, and the target too if the tunnel
// carries that. Behind an app that had sent everything, a tunnel that carries no resets is
// closed: a break could cost the target the last bytes, and would look like an end.
func (r *relay) abort(reason CloseReason, err error) {
	r.conclude(reason, err)
	_ = Reset(r.app)
	if r.sentAll.Load() {
		_ = r.tun.Close()
	} else {
		_ = tunnel.Abort(r.tun)
	}
}

// appFailed ends the relay after a read or write of the app has failed.
func (r *relay) appFailed(err error) {
	switch {
	case r.appFinished.Load() && isReset(err):
		// The app had already closed, and did not want these bytes.
		r.abort(AppClosed, nil)
	default:
		r.abort(AppReset, err)
	}
}

func isReset(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

func (r *relay) hasEnded() bool { return isClosed(r.ended) }

func (r *relay) targetIsDone() bool { return isClosed(r.targetDone) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
