// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/relay"
)

// sight is what an app and its target see, in order.
type sight struct {
	t     *testing.T
	lines []string
}

func (s *sight) note(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// send writes p from one end, and waits until the other has read it.
func (s *sight) send(from, to *net.TCPConn, p string) {
	s.t.Helper()
	_, err := io.WriteString(from, p)
	got := make([]byte, len(p))
	n, rerr := io.ReadFull(to, got)
	s.note("sent %s, got %q, %s", outcome(err), got[:n], outcome(rerr))
}

// sendsMuch reads n bytes of a pattern from to.
func (s *sight) sendsMuch(to *net.TCPConn, n int) {
	s.t.Helper()
	got := make([]byte, n)
	n, err := io.ReadFull(to, got)
	s.note("got %d bytes, right %v, %s", n, bytes.Equal(got[:n], pattern(n)), outcome(err))
}

// rest reads c up to its end.
func (s *sight) rest(who string, c *net.TCPConn) {
	s.t.Helper()
	got, err := io.ReadAll(c)
	if err == nil {
		err = io.EOF
	}
	if len(got) > 64 {
		s.note("%s gets %d bytes, right %v, then %s", who, len(got), bytes.Equal(got, pattern(len(got))), outcome(err))
		return
	}
	s.note("%s gets %q, then %s", who, got, outcome(err))
}

// some reads c up to its end, where how much arrives is not determined.
func (s *sight) some(who string, c *net.TCPConn) {
	s.t.Helper()
	_, err := io.Copy(io.Discard, c)
	if err == nil {
		err = io.EOF
	}
	s.note("%s gets something, then %s", who, outcome(err))
}

// fails waits until the kernel has an error for c.
func (s *sight) fails(who string, c *net.TCPConn) {
	s.t.Helper()
	raw, err := c.SyscallConn()
	must(s.t, err)
	if err := awaitEvent(raw, isOver); err != nil {
		s.note("%s sees %s", who, outcome(err))
		return
	}
	s.note("%s sees %s", who, outcome(socketError(raw)))
}

// writes writes n bytes in the background, and then calls then. The caller waits for done.
func writes(c *net.TCPConn, n int, then func()) (done chan error) {
	done = make(chan error, 1)
	go func() {
		_, err := c.Write(pattern(n))
		if err == nil && then != nil {
			then()
		}
		done <- err
	}()
	return done
}

// stalls waits until a write of done's goroutine waits for its peer, because no byte has
// left c for a while.
func stalls(t *testing.T, c *net.TCPConn, done chan error) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	const quiet = 10
	last, same := uint64(0), 0
	for end := time.Now().Add(hangTimeout); same < quiet; time.Sleep(10 * time.Millisecond) {
		if len(done) > 0 {
			t.Fatal("everything was taken: the test shows nothing")
		}
		if time.Now().After(end) {
			t.Fatal("the write does not stall")
		}
		if now := bytesAcked(t, raw); now == last {
			same++
		} else {
			last, same = now, 0
		}
	}
}

// pattern returns n bytes of which none looks like its neighbour.
func pattern(n int) []byte { return bytes.Repeat([]byte("0123456789abcde"), n/15+1)[:n] }

// much is more than the kernel's buffers of a way take.
const much = 8 << 20

// likeDirect are the cases of TestLikeADirectConnection.
var likeDirect = []struct {
	name   string
	run    func(s *sight, app, target *net.TCPConn)
	reason relay.CloseReason
}{
	{"the target answers after the app's end", func(s *sight, app, target *net.TCPConn) {
		s.send(app, target, "question")
		must(s.t, app.CloseWrite())
		s.rest("target", target)
		s.send(target, app, "answer")
		must(s.t, target.Close())
		s.rest("app", app)
	}, relay.AppClosed},
	{"the app sends after the target's end", func(s *sight, app, target *net.TCPConn) {
		s.send(target, app, "greeting")
		must(s.t, target.CloseWrite())
		s.rest("app", app)
		s.send(app, target, "still here")
		must(s.t, app.Close())
		s.rest("target", target)
	}, relay.TargetClosed},
	{"both end at once", func(s *sight, app, target *net.TCPConn) {
		s.send(app, target, "a")
		must(s.t, app.CloseWrite())
		must(s.t, target.CloseWrite())
		s.rest("app", app)
		s.rest("target", target)
	}, ""},
	{"the app closes at once after its last byte", func(s *sight, app, target *net.TCPConn) {
		done := writes(app, 1<<20, func() { _ = app.Close() })
		s.rest("target", target)
		s.note("app's write is %s", outcome(<-done))
		must(s.t, target.Close())
	}, relay.AppClosed},
	{"the target closes at once after its last byte", func(s *sight, app, target *net.TCPConn) {
		done := writes(target, 1<<20, func() { _ = target.Close() })
		s.rest("app", app)
		s.note("target's write is %s", outcome(<-done))
		must(s.t, app.Close())
	}, relay.TargetClosed},
	{"the app resets", func(s *sight, app, target *net.TCPConn) {
		s.send(app, target, "a")
		must(s.t, relay.Reset(app))
		s.rest("target", target)
	}, relay.AppReset},
	{"the target resets", func(s *sight, app, target *net.TCPConn) {
		s.send(target, app, "a")
		must(s.t, relay.Reset(target))
		s.rest("app", app)
	}, relay.TargetReset},
	{"the app resets after its end", func(s *sight, app, target *net.TCPConn) {
		must(s.t, app.CloseWrite())
		s.rest("target", target)
		must(s.t, relay.Reset(app))
		s.fails("target", target)
	}, relay.AppClosed},
	{"the target resets after its end", func(s *sight, app, target *net.TCPConn) {
		must(s.t, target.CloseWrite())
		s.rest("app", app)
		must(s.t, relay.Reset(target))
		s.fails("app", app)
	}, relay.TargetReset},
	{"the target writes to an app that has closed", func(s *sight, app, target *net.TCPConn) {
		must(s.t, app.Close())
		s.rest("target", target)
		_, err := target.Write([]byte("too late"))
		s.note("write %s", outcome(err))
		s.fails("target", target)
	}, relay.AppClosed},
	{"the app writes to a target that has closed", func(s *sight, app, target *net.TCPConn) {
		must(s.t, target.Close())
		s.rest("app", app)
		_, err := app.Write([]byte("too late"))
		s.note("write %s", outcome(err))
		s.fails("app", app)
	}, relay.TargetReset},
	{"the target closes without having read", func(s *sight, app, target *net.TCPConn) {
		_, err := app.Write([]byte("not read"))
		must(s.t, err)
		awaitUnread(s.t, target)
		must(s.t, target.Close())
		s.rest("app", app)
	}, relay.TargetReset},
	{"the app closes without having read", func(s *sight, app, target *net.TCPConn) {
		_, err := target.Write([]byte("not read"))
		must(s.t, err)
		awaitUnread(s.t, app)
		must(s.t, app.Close())
		s.rest("target", target)
	}, relay.AppReset},
	{"an upload waits for its target", func(s *sight, app, target *net.TCPConn) {
		done := writes(app, much, func() { _ = app.CloseWrite() })
		stalls(s.t, app, done)
		s.send(target, app, "I am busy") // the other direction is free
		s.rest("target", target)
		s.note("app's write is %s", outcome(<-done))
		must(s.t, target.Close())
		s.rest("app", app)
	}, relay.AppClosed},
	{"a download waits for its app", func(s *sight, app, target *net.TCPConn) {
		done := writes(target, much, func() { _ = target.CloseWrite() })
		stalls(s.t, target, done)
		s.send(app, target, "I am busy")
		s.rest("app", app)
		s.note("target's write is %s", outcome(<-done))
		must(s.t, app.Close())
		s.rest("target", target)
	}, relay.TargetClosed},
	{"both wait for each other", func(s *sight, app, target *net.TCPConn) {
		up := writes(app, much, func() { _ = app.CloseWrite() })
		down := writes(target, much, func() { _ = target.CloseWrite() })
		stalls(s.t, app, up)
		stalls(s.t, target, down)
		s.rest("app", app)
		s.note("target's write is %s", outcome(<-down))
		s.rest("target", target)
		s.note("app's write is %s", outcome(<-up))
	}, relay.TargetClosed},
	{"the app resets while its upload waits", func(s *sight, app, target *net.TCPConn) {
		done := writes(app, much, nil)
		stalls(s.t, app, done)
		must(s.t, app.SetLinger(0))
		must(s.t, app.Close())
		<-done
		s.fails("target", target)
	}, relay.AppReset},
	{"the target resets while the app's upload waits", func(s *sight, app, target *net.TCPConn) {
		done := writes(app, much, nil)
		stalls(s.t, app, done)
		must(s.t, relay.Reset(target))
		s.note("app's write is %s", outcome(<-done))
	}, relay.TargetReset},
	{"the target resets while its download waits", func(s *sight, app, target *net.TCPConn) {
		done := writes(target, much, nil)
		stalls(s.t, target, done)
		must(s.t, target.SetLinger(0))
		must(s.t, target.Close())
		<-done
		s.some("app", app)
	}, relay.TargetReset},
	{"the target resets while its download waits for an app that does not read", func(s *sight, app, target *net.TCPConn) {
		done := writes(target, much, nil)
		stalls(s.t, target, done)
		must(s.t, target.SetLinger(0))
		must(s.t, target.Close())
		<-done
		s.fails("app", app)
	}, relay.TargetReset},
	{"the app closes while its download waits", func(s *sight, app, target *net.TCPConn) {
		done := writes(target, much, nil)
		stalls(s.t, target, done)
		must(s.t, app.Close())
		// Measured: now and then the app's kernel sends FIN before RST.
		s.note("target's write fails: %v", <-done != nil)
	}, ""},
	{"the app resets while its download waits", func(s *sight, app, target *net.TCPConn) {
		done := writes(target, much, nil)
		stalls(s.t, target, done)
		must(s.t, relay.Reset(app))
		s.note("target's write is %s", outcome(<-done))
	}, relay.AppReset},
	{"the target resets while both wait", func(s *sight, app, target *net.TCPConn) {
		up, down := writes(app, much, nil), writes(target, much, nil)
		stalls(s.t, app, up)
		stalls(s.t, target, down)
		must(s.t, target.SetLinger(0))
		must(s.t, target.Close())
		<-down
		s.note("app's write is %s", outcome(<-up))
	}, relay.TargetReset},
}

// TestLikeADirectConnection: on a way that carries what TCP carries, app and target see
// the same as on a connection without any relay. Each case runs on both.
func TestLikeADirectConnection(t *testing.T) {
	for _, tc := range likeDirect {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			seen := func(w *way) string {
				s := &sight{t: t}
				tc.run(s, w.app, w.target)
				return strings.Join(s.lines, "\n")
			}
			direct := seen(openDirect(t))
			w := openRelayed(t, everything, relay.Hurried(relay.Options{}))
			if diff := cmp.Diff(direct, seen(w)); diff != "" {
				t.Errorf("what app and target see (-direct +relayed):\n%s", diff)
			}
			if r := w.ended(t); tc.reason != "" && r.Reason != tc.reason {
				t.Errorf("the reason is %s (%v), want %s", r.Reason, r.Err, tc.reason)
			}
			if strings.Contains(direct, "hangs") {
				t.Errorf("a wait did not end:\n%s", direct)
			}
		})
	}
}
