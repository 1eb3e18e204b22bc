// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestAnExitCarriesEnds: with an exit, each end of a connection arrives as the end that it
// is. Konnectivity has one packet for all of them (TestLimitEndsBehindTheServerLookClean,
// TestUnsupportedHalfCloseEndsInAReset).
func TestAnExitCarriesEnds(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newExitRig(t, lab.Options{Mode: mode})
		for _, end := range []struct {
			name string
			test func(t *testing.T)
		}{
			{"a target that answers only after EOF", r.testAnswerAfterEOF},
			{"a half-closing client gets its whole answer", r.testHalfClose},
			{"a target that half-closes first gets all the rest", r.testTargetHalfCloses},
			{"a target's reset", r.testTargetResets},
			{"a target's FIN", r.testSpeakFirst},
			{"an app's reset", r.testAppResets},
			{"what was sent before a close", r.testLastMegabyteUp},
			{"what the target sent before its close", r.testLastMegabyteDown},
		} {
			t.Run(end.name, end.test)
			r.wantNoStreams(t)
		}
	})
}

// testAnswerAfterEOF: the app's FIN reaches the target, and the answer the app.
func (r *rig) testAnswerAfterEOF(t *testing.T) {
	const question = "a question"
	conn := r.open(t, lab.ShootPod(lab.IPv4, 1), target.AfterEOFPort).(halfCloser)
	if _, err := io.WriteString(conn, question); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != fmt.Sprintf("got %d bytes and EOF\n", len(question)) {
		t.Errorf("a target that answers after EOF: %q and %v, want its answer", got, err)
	}
}

// halfCloser is a connection that can end one direction.
type halfCloser interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// testTargetHalfCloses: the target's FIN ends one direction only. It then gets everything
// that the app sends.
func (r *rig) testTargetHalfCloses(t *testing.T) {
	const size = 4 << 20
	conn := r.open(t, lab.ShootPod(lab.IPv4, 2), target.FINFirstPort)
	if got, err := io.ReadAll(conn); err != nil || string(got) != target.Banner {
		t.Errorf("a target that half-closes: %q and %v, want its banner and EOF", got, err)
	}
	if _, err := io.CopyN(conn, target.Pattern(), size); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	r.wantSunk(t, size)
}

// testTargetResets: a target's reset is the app's, and is counted as what it is.
func (r *rig) testTargetResets(t *testing.T) {
	before := r.metrics(t)
	conn := r.open(t, lab.ShootPod(lab.IPv4, 1), target.ResetPort)
	if _, err := io.ReadFull(conn, make([]byte, len(target.Banner))); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("!")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the target reset the connection and the app saw %q, %v; want a reset", got, err)
	}
	r.wantCounted(t, "proxy_client_close_total", before, "target_reset")
}

// testAppResets: an app's reset is the target's.
func (r *rig) testAppResets(t *testing.T) {
	if err := r.resetUpload(t); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the app reset the connection and the target saw %v, want a reset", err)
	}
}

// resetUpload resets an app's connection in an upload. It returns the error that the target
// sees, or nil for a clean end.
func (r *rig) resetUpload(t *testing.T) error {
	t.Helper()
	conn, err := r.dial(labtest.Context(t, hang), lab.ShootPod(lab.IPv4, 1), target.SinkPort)
	if err != nil {
		t.Fatal(err)
	}
	// The target must have the connection, or there is none to reset.
	if _, err := io.WriteString(conn, "x"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the target to have the connection", func(context.Context) error {
		if r.targets.Open() == 0 {
			return errors.New("it has none")
		}
		return nil
	})
	if err := errors.Join(conn.SetLinger(0), conn.Close()); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-r.targets.Sunk():
		return got.Err
	case <-time.After(hang):
		t.Fatal("the app reset the connection, and the target has not noticed")
		return nil
	}
}

// testLastMegabyteUp: an app sends and closes at once, while its target reads nothing for
// longer than a tunnel without an exit stays open after its app. Everything arrives.
func (r *rig) testLastMegabyteUp(t *testing.T) {
	const size = 1 << 20
	r.targets.Hold()
	var uploads []<-chan error
	for range 4 {
		uploads = append(uploads, r.startUpload(t, lab.ShootPod(lab.IPv4, 1), size))
	}
	time.Sleep(closesAfter + time.Second)
	r.targets.Release()
	for _, sent := range uploads {
		if err := <-sent; err != nil {
			t.Error(err)
		}
		r.wantSunk(t, size)
	}
}

// closesAfter is how long a tunnel without an exit stays open after its app has closed.
const closesAfter = 2 * time.Second

// testLastMegabyteDown: targets send and close, and the app begins to read later.
func (r *rig) testLastMegabyteDown(t *testing.T) {
	const size = 1 << 20
	var apps sync.WaitGroup
	for i := range 8 {
		conn := r.startUnread(t, size)
		apps.Go(func() {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond) // apps that are late to different degrees
			if err := errors.Join(readAll(conn, size), conn.Close()); err != nil {
				t.Errorf("a target that sent 1 MiB and closed: %v", err)
			}
		})
	}
	apps.Wait()
}

// TestADeadPeerResetsStreams: what dies between the sidecar and an exit ends downloads
// and silent connections with a reset, never with what looks like an end. What hangs does
// so within ten seconds. Connections work again when it is back.
func TestADeadPeerResetsStreams(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newExitRig(t, lab.Options{Mode: mode})
		ctx := labtest.Context(t, 3*time.Minute)
		tunnel := func() error { return r.WaitTunnel(ctx) }
		faults := []peerFault{
			{"the agent is killed", kill(r.Agents[0]), func() error { return errors.Join(r.Agents[0].Start(), tunnel()) }},
			{"the server is killed", kill(r.Servers[0]), func() error { return errors.Join(r.Servers[0].Start(ctx), tunnel()) }},
			{"the exit is killed", kill(r.Exits[0]), func() error { return r.Exits[0].Start(ctx) }},
		}
		// A hang is noticed by the exit's protocol, which is the same in both modes.
		if mode == lab.GRPC {
			faults = append(faults, peerFault{"the agent hangs", func() error { return r.Agents[0].Freeze() }, func() error { return r.Agents[0].Thaw() }})
		} else {
			faults = append(faults, peerFault{"the exit hangs", func() error { return r.Exits[0].Freeze() }, func() error { return r.Exits[0].Thaw() }})
		}
		for _, c := range faults {
			t.Run(c.name, func(t *testing.T) {
				quiet := r.startQuiet(t, 5)
				x := r.startRaw(t, lab.ShootPod(lab.IPv4, 1))
				began := time.Now()
				if err := c.fault(); err != nil {
					t.Fatal(err)
				}
				err := x.finish()
				took := time.Since(began)
				if !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("a download ended with error %v, want a reset", err)
				}
				if took > deadPeer+slack {
					t.Errorf("a download was reset after %s, promised are %s", took, deadPeer)
				}
				t.Logf("a download was reset after %s", took.Round(time.Millisecond))
				quiet.await(t, 5, deadPeer+slack)
				quiet.wantEnded(t, 5, began, syscall.ECONNRESET)
				if err := c.undo(); err != nil {
					t.Fatal(err)
				}
				r.wantServes(t)
			})
		}
	})
}

// peerFault is what happens to a process between the sidecar and its targets.
type peerFault struct {
	name        string
	fault, undo func() error
}

// kill returns a function that kills a process of the lab.
func kill(p interface{ Kill() }) func() error {
	return func() error {
		p.Kill()
		return nil
	}
}
