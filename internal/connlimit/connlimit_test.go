// SPDX-License-Identifier: Apache-2.0

package connlimit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hangGuard ends a test that would otherwise wait for ever.
const hangGuard = 20 * time.Second

func TestVictim(t *testing.T) {
	now := time.Now()
	ago := func(busy bool, age time.Duration) *conn { return &conn{busy: busy, since: now.Add(-age)} }
	for _, tt := range []struct {
		name string
		open []*conn // the first must be closed
	}{
		{"the only one", []*conn{ago(true, 0)}},
		{"the oldest idle one", []*conn{ago(false, 9*time.Second), ago(false, 5*time.Second), ago(false, 2*time.Second)}},
		{"an idle one, although others are busy for longer", []*conn{ago(false, 2*time.Second), ago(true, 9*time.Second)}},
		{"not one whose request may be on its way", []*conn{ago(true, 2*time.Second), ago(false, requestGrace/2), ago(true, time.Second)}},
		{"the one busy longest where no client is waited for", []*conn{ago(true, 3*time.Second), ago(true, 2*time.Second)}},
		{"the oldest new one where all are new", []*conn{ago(false, requestGrace/2), ago(false, requestGrace/4)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &limitedListener{open: map[*conn]struct{}{}}
			for _, c := range tt.open {
				l.open[c] = struct{}{}
			}
			if got := l.toClose(now); got != tt.open[0] {
				t.Errorf("the one to go is busy %t since %s ago, want busy %t since %s", got.busy, now.Sub(got.since), tt.open[0].busy, now.Sub(tt.open[0].since))
			}
		})
	}
}

// server answers GET with "hello", over at most most connections. It answers GET /wait
// after release is called.
func server(t *testing.T, most int, encrypted bool) (s *httptest.Server, l *limitedListener, release func()) {
	t.Helper()
	released := make(chan struct{})
	release = sync.OnceFunc(func() { close(released) })
	s = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-released
		}
		fmt.Fprint(w, "hello")
	}))
	// httptest calls the ConnState that it finds when it starts.
	s.Listener = Bound(s.Config, s.Listener, most)
	l = s.Listener.(*limitedListener)
	if encrypted {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	t.Cleanup(release)
	return s, l, release
}

// count returns how many connections are open, and how many of them are busy.
func (l *limitedListener) count() (open, busy int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		if c.busy {
			busy++
		}
	}
	return len(l.open), busy
}

func (l *limitedListener) eventually(t *testing.T, open, busy int) {
	t.Helper()
	for deadline := time.Now().Add(hangGuard); ; time.Sleep(time.Millisecond) {
		o, b := l.count()
		if o == open && b == busy {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are open, %d busy; want %d and %d", o, b, open, busy)
		}
	}
}

func dial(t *testing.T, s *httptest.Server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(hangGuard)); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask sends a request on c and leaves c open.
func ask(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil || string(body) != "hello" {
		t.Fatalf("answered with %q and %v", body, err)
	}
}

func wantClosed(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := c.Read(make([]byte, 1))
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection that had to go reads %v, want its end", err)
	}
}

func TestTheOldestIdleConnectionGoesFirst(t *testing.T) {
	s, l, release := server(t, 3, false)
	busy := dial(t, s)
	if _, err := io.WriteString(busy, "GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	l.eventually(t, 1, 1)
	var idle []net.Conn
	for i := range 2 {
		idle = append(idle, dial(t, s))
		ask(t, idle[i])
		l.eventually(t, 2+i, 1) // the server calls ConnState after its answer
	}
	l.mu.Lock()
	for c := range l.open { // as if all of it had happened earlier
		c.since = c.since.Add(-2 * requestGrace)
	}
	l.mu.Unlock()

	ask(t, dial(t, s))
	wantClosed(t, idle[0])
	ask(t, idle[1])
	l.eventually(t, 3, 1)
	release()
	answer, err := io.ReadAll(busy)
	if err != nil || len(answer) == 0 {
		t.Errorf("the one that was being answered got %q and %v", answer, err)
	}
	l.eventually(t, 2, 0)
}

// Each new request is answered, and the limit is kept, for any number of connections
// and partial requests.
func TestNewRequestsAreAnsweredInAFlood(t *testing.T) {
	for name, encrypted := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			const most = 8
			s, l, _ := server(t, most, encrypted)
			for i := range 10 * most {
				c := dial(t, s)
				if i%2 == 0 { // the others send nothing
					_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost:") // it may be closed already
				}
			}
			answer, err := s.Client().Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if err != nil || string(body) != "hello" {
				t.Errorf("a request in the flood was answered with %q and %v", body, err)
			}
			if open, _ := l.count(); open > most {
				t.Errorf("%d connections are open, %d may be", open, most)
			}
		})
	}
}

func TestWhatEndsMakesRoom(t *testing.T) {
	s, l, _ := server(t, 16, false)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: hangGuard}
				answer, err := client.Get(s.URL)
				if err != nil {
					t.Error(err)
					return
				}
				_ = answer.Body.Close()
			}
		})
	}
	all.Wait()
	l.eventually(t, 0, 0)
}
