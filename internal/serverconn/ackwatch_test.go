// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
)

// wantSilent waits until reading ends. It expects that the error of the read, and that
// of the write under way, name the cause.
func (u *farUpload) wantSilent(t *testing.T) {
	t.Helper()
	_, err := u.conn.Read(make([]byte, 1))
	if _, ok := errors.AsType[*silentError](err); !ok {
		t.Errorf("reading ended with %v, want what the watch has found", err)
	}
	if err := <-u.written; err == nil {
		t.Error("everything was written to a peer that has vanished")
	} else if _, ok := errors.AsType[*silentError](err); !ok {
		t.Errorf("writing ended with %v, want what the watch has found", err)
	}
}

// A peer that vanishes during an upload is noticed soon after ackTimeout, and not
// before.
func TestAckWatchEndsWhatIsNotAcknowledged(t *testing.T) {
	netnstest.RequireRoot(t)
	t.Parallel()
	u := dialFar(t)
	u.vanish(t)
	began := time.Now()
	u.write()
	u.wantSilent(t)
	if took := time.Since(began); took < ackTimeout {
		t.Errorf("the peer was given up after %s, want %s at least", took, ackTimeout)
	}
}

// A peer that vanishes while its window is closed is noticed after it has left a few
// probes unanswered. If the kernel allows it, probes come once a second.
func TestAckWatchEndsAPauseWithoutAnswers(t *testing.T) {
	netnstest.RequireRoot(t)
	t.Parallel()
	u := dialFar(t)
	must(t, u.conn.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS, 1000) // since Linux 6.15
	}))
	u.write()
	u.awaitPause(t)
	u.vanish(t)
	began := time.Now()
	u.wantSilent(t)
	if took := time.Since(began); took < ackTimeout {
		t.Errorf("the peer was given up after %s, want %s at least", took, ackTimeout)
	}
}

// A pause that is longer than ackTimeout does no harm.
func TestAckWatchLetsAPeerPause(t *testing.T) {
	netnstest.RequireRoot(t)
	t.Parallel()
	u := dialFar(t)
	u.write()
	u.awaitPause(t)
	select {
	case err := <-u.written:
		t.Fatalf("writing ended while the peer read nothing: %v", err)
	case <-time.After(ackTimeout + 2*time.Second): // this is the pause itself
	}
	got := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(io.Discard, u.peer)
		got <- n
	}()
	must(t, <-u.written)
	must(t, u.conn.CloseWrite())
	if n := <-got; n != uploadBytes {
		t.Errorf("the peer got %d bytes, want %d", n, uploadBytes)
	}
	must(t, u.peer.Close())
	if _, err := u.conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection ended with %v, want %v", err, io.EOF)
	}
}

// Keepalive covers the connections that the watch does not check, because all is
// acknowledged. They cost the watch nothing.
func TestAckWatchLeavesIdleConnectionsToKeepalive(t *testing.T) {
	netnstest.RequireRoot(t)
	t.Parallel()
	u := dialFar(t)
	_, err := u.conn.Write([]byte("something"))
	must(t, err)
	for u.conn.watch.count() != 0 { // until it is acknowledged, and a check has seen that
		time.Sleep(time.Millisecond)
	}
	u.vanish(t)
	_, err = u.conn.Read(make([]byte, 1))
	if !errors.Is(err, unix.ETIMEDOUT) || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("reading ended with %v, want %v, and what it means", err, unix.ETIMEDOUT)
	}
}

// count returns how many connections the watch checks, or -1 during a check.
func (w *ackWatch) count() int {
	if !w.checking.TryLock() {
		return -1
	}
	defer w.checking.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiting)
}
