// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// curlJob is a curl that downloads until the target's Release.
type curlJob struct {
	got  *watchedPattern
	done chan error
}

// startCurl starts a download and returns once bytes are flowing.
func (r *rig) startCurl(t *testing.T, f lab.Families) *curlJob {
	t.Helper()
	job := &curlJob{got: &watchedPattern{PatternWriter: target.NewPatternWriter(), marks: make(chan int64, 1)}, done: make(chan error, 1)}
	ctx := labtest.Context(t, 2*time.Minute)
	go func() {
		_, err := r.app(ctx, nil, job.got, "curl", "-sS", lab.URL(lab.ShootPod(f, 1), target.HTTPPort, "/until-released"))
		job.done <- err
	}()
	job.moreBytes(t)
	return job
}

// moreBytes waits until more bytes have arrived.
func (j *curlJob) moreBytes(t *testing.T) {
	t.Helper()
	guard := time.NewTimer(hang)
	defer guard.Stop()
	for range 2 { // the first mark may be an old one
		select {
		case <-j.got.marks:
		case err := <-j.done:
			t.Fatalf("curl ended in the middle of its download: %v", err)
		case <-guard.C:
			t.Fatal("the download has stopped")
		}
	}
}

// wantWhole expects curl to succeed after the target's Release.
func (j *curlJob) wantWhole(t *testing.T) {
	t.Helper()
	select {
	case err := <-j.done:
		if err != nil {
			t.Errorf("the download did not end well: %v", err)
		}
	case <-time.After(hang):
		t.Error("the download does not end")
	}
}

// watchedPattern checks what curl prints and reports its progress.
type watchedPattern struct {
	*target.PatternWriter
	marks chan int64
}

func (w *watchedPattern) Write(p []byte) (int, error) {
	n, err := w.PatternWriter.Write(p)
	select {
	case w.marks <- w.N:
	default:
	}
	return n, err
}

// TestApplyingAgainDoesNotDisturbADownload: init containers run again in a live pod.
// Applying the same configuration again does not disturb a download. Nor does the repair
// of a tampered one.
func TestApplyingAgainDoesNotDisturbADownload(t *testing.T) {
	r := newRig(t, lab.Options{})
	for _, f := range lab.DualStack.Each() {
		r.targets.Hold()
		job := r.startCurl(t, f)
		for range 5 {
			r.apply(t)
			job.moreBytes(t)
		}
		r.iptables(t, f, "-t", "nat", "-D", "PROXY_CLIENT_OUTPUT", "2")
		if result, err := r.InitRedirect(labtest.Context(t, hang), "verify"); result.Code != 4 {
			t.Errorf("%s: verify after a rule was deleted: exit code %d (%v), want 4", f, result.Code, err)
		}
		r.apply(t)
		job.moreBytes(t)
		r.targets.Release()
		job.wantWhole(t)
	}
}

// TestTerminationLetsATransferFinish: after SIGTERM the sidecar is no longer ready, lets
// a transfer finish, and exits 0.
func TestTerminationLetsATransferFinish(t *testing.T) {
	t.Parallel()
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Options{Mode: mode}, "--drain-timeout=1m")
			r.targets.Hold()
			job := r.startCurl(t, lab.IPv4)
			r.terminate(t)
			job.moreBytes(t)
			r.targets.Release()
			job.wantWhole(t)
			if code, err := r.sidecar.Wait(labtest.Context(t, hang)); err != nil || code != 0 {
				t.Errorf("the drained sidecar exited with %d, %v, want 0", code, err)
			}
		})
	}
}

// TestDrainEndsInAReset: a connection that has not finished when the drain timeout ends
// is reset, never ended cleanly. A second signal ends the sidecar at once, with code 130.
func TestDrainEndsInAReset(t *testing.T) {
	t.Run("timeout", func(t *testing.T) {
		r := newRig(t, lab.Options{}, "--drain-timeout=1s")
		x := r.startRaw(t, lab.ShootPod(lab.IPv4, 1))
		if err := r.sidecar.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := x.finish(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the transfer ended with error %v, want a reset", err)
		}
		if code, err := r.sidecar.Wait(labtest.Context(t, hang)); err != nil || code != 0 {
			t.Errorf("the sidecar exited with %d, %v, want 0", code, err)
		}
	})
	t.Run("second signal", func(t *testing.T) {
		r := newRig(t, lab.Options{}, "--drain-timeout=1h")
		r.startRaw(t, lab.ShootPod(lab.IPv4, 1))
		r.terminate(t)
		if err := r.sidecar.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code, err := r.sidecar.Wait(labtest.Context(t, hang)); err != nil || code != 130 {
			t.Errorf("after a second signal the sidecar exited with %d, %v, want 130", code, err)
		}
	})
}

// TestAcceptWhileDraining: in the classic order app and sidecar get SIGTERM at the same
// moment. The sidecar then goes on accepting for the whole drain timeout, and exits 0.
func TestAcceptWhileDraining(t *testing.T) {
	r := newRig(t, lab.Options{}, "--drain-timeout=5s", "--accept-while-draining")
	r.targets.Hold()
	job := r.startCurl(t, lab.IPv4)
	r.terminate(t)
	r.testKinds(t)
	r.targets.Release()
	job.wantWhole(t)
	if code, err := r.sidecar.Wait(labtest.Context(t, hang)); err != nil || code != 0 {
		t.Errorf("the drained sidecar exited with %d, %v, want 0", code, err)
	}
}

// terminate sends SIGTERM to the sidecar and waits until it drains.
func (r *rig) terminate(t *testing.T) {
	t.Helper()
	if err := r.sidecar.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "/readyz to fail while the sidecar drains", func(ctx context.Context) error {
		return r.wantStatus(ctx, "/readyz", http.StatusServiceUnavailable)
	})
}

func (r *rig) wantStatus(ctx context.Context, path string, want int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.SidecarURL(path), nil)
	if err != nil {
		return err
	}
	resp, err := r.Pod.HTTP().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		return fmt.Errorf("%s answers %s, want %d", path, resp.Status, want)
	}
	return nil
}

// TestDumpShowsALiveConnection: while a connection is open, dump shows its real
// destination. It also shows the rules with counters that have counted it.
func TestDumpShowsALiveConnection(t *testing.T) {
	r := newRig(t, lab.Options{})
	for _, f := range lab.DualStack.Each() {
		r.startRaw(t, lab.ShootPod(f, 7))
		destination := net.JoinHostPort(lab.ShootPod(f, 7).String(), fmt.Sprint(target.HTTPPort))
		table, err := r.InitRedirect(labtest.Context(t, hang), "dump")
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for line := range strings.Lines(table.Stdout) {
			found = found || strings.HasPrefix(line, destination+" ") && strings.Contains(line, "ESTABLISHED")
		}
		if !found {
			t.Errorf("dump does not show the live connection to %s:\n%s", destination, table.Stdout)
		}
		text, err := r.InitRedirect(labtest.Context(t, hang), "dump", "--output=json")
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid([]byte(text.Stdout)) || !strings.Contains(text.Stdout, `"`+destination+`"`) {
			t.Errorf("dump as JSON does not show the live connection to %s:\n%s", destination, text.Stdout)
		}
	}
}

// TestSidecarRestart: the kubelet restarts a sidecar that was killed. Its connections are
// reset, not ended as if they were complete. The shoot is refused meanwhile. It is
// reached again afterwards without another apply.
func TestSidecarRestart(t *testing.T) {
	r := newRig(t, lab.Options{})
	x := r.startRaw(t, lab.ShootPod(lab.IPv4, 1))
	r.sidecar.Kill()
	if err := x.finish(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the sidecar was killed and the download ended with error %v, want a reset", err)
	}
	if conn, err := r.dial(labtest.Context(t, hang), lab.ShootPod(lab.IPv4, 1), target.HTTPPort); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without a sidecar a connection to the shoot gives %v, %v, want it refused", conn, err)
	}
	r.start(t)
	r.testKinds(t)
}
