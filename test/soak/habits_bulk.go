// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// download moves up to 16 MiB to the app.
func (w *worker) download() {
	w.simple(script{up: 10, down: w.size(1<<20, 16<<20), rounds: 1, targetCloses: true})
}

// upload moves up to 16 MiB to the target, which acknowledges all of it.
func (w *worker) upload() {
	w.simple(script{up: w.size(1<<20, 16<<20), down: 10, rounds: 1, targetCloses: w.rand.IntN(2) == 0})
}

// slowReader reads slowly. It has less to read than --connection-buffer holds, so it must
// get everything.
func (w *worker) slowReader() {
	s := script{up: 10, down: w.size(1<<20, 8<<20), rounds: 1, targetCloses: true}
	a := w.open(whole, scriptPort, s)
	a.send(s.up)
	a.receive(s.down, 1<<20+w.rand.IntN(3<<20))
	a.receiveEnd()
	w.done(a)
}

const (
	// stalled is more than --connection-buffer and the kernels hold together.
	stalled = 96 << 20
	// patience is how long an app that does not read waits for its reset. If servers are
	// out of reach meanwhile, its buffer may not fill.
	patience = 20 * time.Second
)

// stopReading asks for much and reads nothing. It goes on when the sidecar has reset the
// connection, or after patience. Through an exit it is not reset, and gets everything.
func (w *worker) stopReading() {
	s := script{up: 10, down: stalled, rounds: 1, targetCloses: true}
	expected := tooSlow
	if w.exits {
		expected = whole
	}
	a := w.open(expected, stallPort, s)
	a.send(s.up)
	for waited := time.Duration(0); waited < patience && !a.over() && !a.closed(); waited += 100 * time.Millisecond {
		time.Sleep(100 * time.Millisecond) // an app that does not read gets no event
	}
	a.receiveEnd()
	if a.outcome.ending == cleanEnd && a.outcome.got == a.outcome.want {
		// The connection was not reset in time and the app then read everything. The
		// bytes had only been delayed on the way.
		a.outcome.expected = whole
	}
	w.done(a)
}

// closed reports whether the kernel has ended the connection.
func (a *app) closed() bool {
	raw, err := a.conn.SyscallConn()
	if err != nil {
		return true
	}
	const tcpClose = 7 // TCP_CLOSE of linux/tcp_states.h
	var state uint8
	err = raw.Control(func(fd uintptr) {
		info, ierr := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if ierr == nil {
			state = info.State
		}
	})
	return err != nil || state == tcpClose
}

// curl runs Debian's curl as an ordinary user. It makes one connection.
func (w *worker) curl(o outcome, c lab.Command) {
	c.Path, c.UID = "curl", lab.AppUID
	c.Args = append([]string{"-sS", "--speed-time", fmt.Sprint(int(hang.Seconds())), "--speed-limit", "1"}, c.Args...)
	o.began = time.Now()
	result, err := w.pod.Run(w.ctx, c)
	o.ended = time.Now()
	o.wrote = o.began
	if c.Stdin != nil {
		o.wrote = o.ended
	}
	o.ending, o.err = curlEnding(result.Code), err
	if got, ok := c.Stdout.(*target.PatternWriter); ok {
		o.got = got.N
	} else if result.Code == 0 {
		o.ending, o.err = judgeReceipt(result.Stdout, o.sent)
		if o.ending == cleanEnd {
			o.got = o.want
		}
	}
	w.report(o)
}

// curlEnding maps curl's exit codes (curl(1), EXIT CODES).
func curlEnding(code int) ending {
	switch code {
	case 0, 18, 52: // all of the answer; part of a file; nothing at all
		return cleanEnd
	case 55, 56: // failed to send; failed to receive
		return resetEnd
	case 28:
		return hungEnd
	default:
		return oddEnd
	}
}

func judgeReceipt(stdout string, sent int64) (ending, error) {
	want := fmt.Sprintf("%d %s\n", sent, target.PatternHash(sent))
	if stdout == want {
		return cleanEnd, nil
	}
	return oddEnd, fmt.Errorf("%w: the target's receipt is %.200q, want %q", errReceipt, stdout, want)
}

var errReceipt = errors.New("an upload arrived otherwise than it was sent")

func (w *worker) curlGet() {
	o := w.newOutcome(whole, w.somewhere(target.HTTPPort))
	o.id, o.want = 0, w.size(256<<10, 8<<20)
	args := []string{lab.URL(o.to.Addr(), target.HTTPPort, fmt.Sprintf("/file?bytes=%d", o.want))}
	if w.rand.IntN(2) == 0 {
		args = append(args, "--limit-rate", "4M")
	}
	w.curl(o, lab.Command{Args: args, Stdout: target.NewPatternWriter()})
}

func (w *worker) curlPut() {
	o := w.newOutcome(whole, w.somewhere(target.HTTPPort))
	o.id, o.want, o.sent = 0, 1, w.size(256<<10, 8<<20)
	w.curl(o, lab.Command{
		Args:  []string{"-T", "-", "-H", "Expect:", lab.URL(o.to.Addr(), target.HTTPPort, "/upload")},
		Stdin: io.LimitReader(target.Pattern(), o.sent),
	})
}
