// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestTheOnlyAgentHangsUnderDials: the only agent hangs. Dials end in a reset within
// their budget. They leave nothing behind once the agent goes on.
func TestTheOnlyAgentHangsUnderDials(t *testing.T) {
	const budget = 3 * time.Second
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newRig(t, lab.Options{Mode: mode}, "--dial-timeout="+budget.String())
		live := r.startQuiet(t, 5)
		began := time.Now()
		if err := r.Agent.Freeze(); err != nil {
			t.Fatal(err)
		}
		before := r.metrics(t)
		fresh := r.startFresh(t)
		fresh.await(t, 25)
		attempts := fresh.end(t)
		for _, a := range attempts {
			if a.err == nil || a.took > budget+slack {
				t.Errorf("a connection whose agent hangs got %d bytes, %s after %s; want a reset within %s", a.got, reasonOf(a.err), a.took, budget)
			}
		}
		logSlowest(t, attempts, began)
		t.Logf("%v", increases("proxy_client_dial_failures_total", before, r.metrics(t)))
		if err := r.Agent.Thaw(); err != nil {
			t.Fatal(err)
		}
		r.wantServes(t)
		live.wantEnded(t, 0, began, nil)
		live.finish()
		r.wantNoLeak(t)
	})
}

// TestOneOfTwoAgentsHangs: one of two agents hangs. The server goes on giving it every
// other dial, and a new connection takes 5.5 s each time it does. Each connection is
// whole or ends in a reset within the budget.
func TestOneOfTwoAgentsHangs(t *testing.T) {
	const budget = 8 * time.Second
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		opts := pair
		opts.Mode = mode
		r := newRig(t, opts)
		began := time.Now()
		if err := r.Agents[0].Freeze(); err != nil {
			t.Fatal(err)
		}
		fresh := r.startFresh(t)
		fresh.await(t, 200)
		attempts := fresh.end(t)
		failed := 0
		for _, a := range attempts {
			if !a.whole() {
				failed++
			}
			if a.took > budget+slack {
				t.Errorf("a new connection took %s, its budget is %s", a.took, budget)
			}
		}
		wantNoneSilent(t, attempts)
		logSlowest(t, attempts, began)
		t.Logf("%d of %d new connections failed", failed, len(attempts))
		if failed > len(attempts)/2 {
			t.Errorf("%d of %d new connections failed beside an agent that works", failed, len(attempts))
		}
		if err := r.Agents[0].Thaw(); err != nil {
			t.Fatal(err)
		}
		r.wantNoLeak(t)
	})
}

// TestTheAgentDiesUnderADial: the agent dies during a dial. In gRPC mode upstream reports
// that to no client. The dial waits for another agent within its budget, and leaves
// nothing behind.
func TestTheAgentDiesUnderADial(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newRig(t, lab.Options{Mode: mode}, "--dial-timeout="+hang.String())
		conn, err := r.dial(labtest.Context(t, 2*hang), lab.BlackHole(lab.IPv4), target.HTTPPort)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		eventually(t, "the dial to reach the agent", func(ctx context.Context) error {
			m, err := r.ServerMetrics(ctx)
			if n := m.Sum(lab.ServerPending); err == nil && n != 1 {
				err = fmt.Errorf("%v dials are pending", n)
			}
			return err
		})
		// The target begins to answer, so that only the second attempt of the dial
		// succeeds.
		undo, err := r.Shoot.Run(labtest.Context(t, hang), lab.Command{
			Path: "iptables", Args: []string{"-w", "-D", "INPUT", "-d", lab.BlackHole(lab.IPv4).String(), "-j", "DROP"},
		})
		if err != nil {
			t.Fatal(undo.Stderr, err)
		}
		began := time.Now()
		if err := r.Agents[0].Restart(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if err != nil || len(got) == 0 {
			t.Errorf("a dial whose agent died got %q and %v, want it to go on through the next agent", got, err)
		}
		t.Logf("the dial went through %s after its agent was killed", time.Since(began).Round(time.Millisecond))
		_ = conn.Close()
		r.wantNoLeak(t)
	})
}

// TestLimitEndsBehindTheServerLookClean: upstream cannot tell an agent that dies or a
// target that resets from a target that closes. The app sees a clean end, however much of
// the answer is missing. This test fails when upstream learns to tell them apart.
func TestLimitEndsBehindTheServerLookClean(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newRig(t, lab.Options{Mode: mode})
		before := r.metrics(t)
		conn, err := r.dial(labtest.Context(t, hang), lab.ShootPod(lab.IPv4, 1), target.ResetPort)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.ReadFull(conn, make([]byte, len(target.Banner))); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("!")); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err != nil {
			t.Errorf("the target reset the connection and the app saw %q, %v; upstream has learned to tell: say so in the limits", got, err)
		}
		x := r.startRaw(t, lab.ShootPod(lab.IPv4, 1))
		quiet := r.startQuiet(t, 10)
		killed := time.Now()
		r.Agent.Kill()
		if err := x.finish(); err != nil {
			t.Errorf("the agent died and the download ended with %v; upstream has learned to tell: say so in the limits", err)
		}
		quiet.await(t, 10, hang)
		quiet.wantEnded(t, 10, killed, io.EOF)
		for _, c := range []io.Closer{conn, x.conn} {
			_ = c.Close()
		}
		quiet.finish()
		// The new agent knows nothing of the old one's connections.
		if err := r.StartAgent(); err != nil {
			t.Fatal(err)
		}
		r.wantServes(t)
		r.wantNoLeak(t)
		t.Logf("counted as %v", increases("proxy_client_close_total", before, r.metrics(t)))
	})
}

// TestKilledAppsLeaveNothingBehind: apps that are killed leave nothing behind.
//
// Apps that download and apps that upload are killed one after the other. If both
// directions are full, a close can lock server and agent up for ever. The server then
// waits to send a CLOSE_REQ for late DATA (sendBackendClose in its serveRecvBackend). The
// agent waits to send a CLOSE_RSP (cleanFunc in its Serve). Neither reads. Seen with
// v0.36.0, in one run of ten here.
func TestKilledAppsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Options{Mode: mode})
			url := func(path string) string { return lab.URL(lab.ShootPod(lab.IPv4, 1), target.HTTPPort, path) }
			nowhere := slices.Repeat([][]string{{lab.URL(lab.BlackHole(lab.IPv4), target.HTTPPort, "/")}}, 5)
			silent := "telnet://" + net.JoinHostPort(lab.ShootPod(lab.IPv4, 2).String(), fmt.Sprint(target.SilentPort))
			r.killApps(t, "down", 10, slices.Concat(nowhere,
				slices.Repeat([][]string{{"-o", "/dev/null", url("/until-released")}}, 5),
				slices.Repeat([][]string{{silent}}, 5)))
			r.killApps(t, "up", 5, slices.Concat(nowhere,
				slices.Repeat([][]string{{"--limit-rate", "2M", "-T", "/dev/zero", url("/upload")}}, 5)))
		})
	}
}

// killApps starts a curl for each of the command lines. It kills all of them once this
// many have reached a target, and expects that nothing is left of them.
func (r *rig) killApps(t *testing.T, name string, arrive int, commands [][]string) {
	t.Helper()
	var apps []*lab.Process
	for i, args := range commands {
		app, err := r.Pod.Start(fmt.Sprintf("app-%s-%d", name, i), lab.Command{Path: "curl", Args: append([]string{"-sS"}, args...), UID: lab.AppUID})
		if err != nil {
			t.Fatal(err)
		}
		apps = append(apps, app)
	}
	eventually(t, "the apps to be connected", func(context.Context) error {
		if n := r.targets.Open(); n < arrive {
			return fmt.Errorf("%d of %d at the targets", n, arrive)
		}
		return nil
	})
	for _, app := range apps {
		app.Kill()
	}
	r.wantNoLeak(t)
}

// TestLimitATargetThatStopsReading: a target that stops reading an upload freezes its
// agent for all clients of the same server. The agent has one loop for each server, and
// that loop waits. This is upstream's limit. Our promise is that the sidecar goes on, and
// the app that uploads is only slowed. Dials end within their budget, or succeed through
// another server. Everything goes on when the target does.
func TestLimitATargetThatStopsReading(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		t.Run("the only server", func(t *testing.T) {
			r := newRig(t, lab.Options{Mode: mode}, "--dial-timeout=3s")
			r.testStuckUpload(t, func(attempts []attempt) {
				failed := slices.DeleteFunc(slices.Clone(attempts), attempt.whole)
				t.Logf("beside it %d of %d new connections failed", len(failed), len(attempts))
				wantNoneSilent(t, attempts)
			})
		})
		t.Run("two servers", func(t *testing.T) {
			opts := lab.Options{Mode: mode, Servers: 2}
			newRig(t, opts).testStuckUpload(t, func(attempts []attempt) {
				wantNoneFailed(t, attempts)
			})
		})
	})
}

// testStuckUpload uploads to a target that does not read. It gives judge the other
// connections of that time.
func (r *rig) testStuckUpload(t *testing.T, judge func([]attempt)) {
	t.Helper()
	r.targets.Hold()
	others := r.startQuiet(t, 8)
	upload, err := r.dial(labtest.Context(t, 2*time.Minute), lab.ShootPod(lab.IPv4, 1), target.StuckPort)
	if err != nil {
		t.Fatal(err)
	}
	defer upload.Close()
	sent := make(chan error, 1)
	progress := make(chan int64, 1)
	const size = 64 << 20
	go func() {
		_, err := io.Copy(&marking{to: upload, marks: progress}, io.LimitReader(target.Pattern(), size))
		sent <- err
	}()
	t.Logf("%d KiB of the upload were taken before it stood still", waitStuck(t, progress, sent)>>10)
	began := time.Now()
	fresh := r.startFresh(t)
	fresh.await(t, 10)
	attempts := fresh.end(t)
	judge(attempts)
	logSlowest(t, attempts, began)
	r.targets.Release()
	// Connections that were open before work as if nothing had happened.
	others.wantEnded(t, 0, began, nil)
	t.Logf("they stood still for as long as the target, here %s", time.Since(began).Round(time.Millisecond))
	select {
	case err := <-sent:
		if err != nil {
			t.Errorf("the upload was to be slowed, not ended: %v", err)
		}
	case <-time.After(2 * hang):
		t.Error("the upload does not go on")
	}
	r.wantServes(t)
}

// marking is a writer that reports each write.
type marking struct {
	to    io.Writer
	n     int64
	marks chan int64
}

func (m *marking) Write(p []byte) (int, error) {
	n, err := m.to.Write(p)
	m.n += int64(n)
	select {
	case <-m.marks: // an old one
	default:
	}
	m.marks <- m.n
	return n, err
}

// waitStuck waits until an upload stands still, and returns how many bytes it has sent.
func waitStuck(t *testing.T, progress <-chan int64, sent <-chan error) int64 {
	t.Helper()
	var taken int64
	guard := time.After(hang)
	for {
		select {
		case taken = <-progress:
		case err := <-sent:
			t.Fatalf("the whole upload was taken by a target that does not read: %v", err)
		case <-time.After(2 * time.Second): // no byte has moved for this long
			return taken
		case <-guard:
			t.Fatal("an upload to a target that does not read goes on and on")
		}
	}
}
