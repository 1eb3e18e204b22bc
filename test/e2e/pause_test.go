// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// uploadSize is more than all buffers on the way can hold.
const uploadSize = 64 << 20

// pauseLength is how long a target pauses. It is three times the time after which a
// server that acknowledges nothing counts as gone.
const pauseLength = 3 * deadPeer

// TestAnUploadOutlastsThePauseOfItsTarget: a target that pauses slows its upload, however
// long the pause. Nothing is lost and nothing is reset. During the pause the
// proxy-server's receive window may become zero. Its kernel still answers our kernel's
// probes.
func TestAnUploadOutlastsThePauseOfItsTarget(t *testing.T) {
	t.Parallel()
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		for _, others := range []int{0, 20} {
			t.Run(fmt.Sprintf("%s beside %d", mode, 2*others), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, lab.Options{Mode: mode})
				r.testPausedUpload(t, others)
			})
		}
	}
}

// testPausedUpload uploads to a target that pauses, beside this many connections that
// exchange bytes and as many that are silent.
func (r *rig) testPausedUpload(t *testing.T, others int) {
	t.Helper()
	r.targets.Hold()
	quiet, live := r.startQuiet(t, others), r.startLive(t, others)
	upload, err := r.dial(labtest.Context(t, 4*time.Minute), lab.ShootPod(lab.IPv4, 1), target.StuckPort)
	if err != nil {
		t.Fatal(err)
	}
	defer upload.Close()
	began := time.Now()
	sent, progress := startUpload(upload)
	t.Logf("%d KiB of the upload were taken before it stood still", waitStuck(t, progress, sent)>>10)
	wantPaused(t, sent)
	r.targets.Release()
	r.wantUploaded(t, sent)
	quiet.wantEnded(t, 0, began, nil)
	live.wantEnded(t, 0, began, nil)
}

// TestAnUploadOutlastsAServerThatHangs: a server that hangs for longer than pauseLength
// looks the same. Its kernel has no room for more bytes, and still answers.
func TestAnUploadOutlastsAServerThatHangs(t *testing.T) {
	t.Parallel()
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Options{Mode: mode})
			upload, err := r.dial(labtest.Context(t, 4*time.Minute), lab.ShootPod(lab.IPv4, 1), target.SinkPort)
			if err != nil {
				t.Fatal(err)
			}
			defer upload.Close()
			quiet := r.startQuiet(t, 5) // the upload's own connection stays for the same reason
			began := time.Now()
			if err := r.Server.Freeze(); err != nil {
				t.Fatal(err)
			}
			sent, progress := startUpload(upload)
			t.Logf("%d KiB of the upload were taken before it stood still", waitStuck(t, progress, sent)>>10)
			wantPaused(t, sent)
			if err := r.Server.Thaw(); err != nil {
				t.Fatal(err)
			}
			r.wantUploaded(t, sent)
			quiet.wantEnded(t, 0, began, nil)
		})
	}
}

// startUpload sends the pattern and closes upload. The channel sent reports the result,
// and progress the number of bytes so far.
func startUpload(upload io.WriteCloser) (sent chan error, progress chan int64) {
	sent, progress = make(chan error, 1), make(chan int64, 1)
	go func() {
		_, err := io.Copy(&marking{to: upload, marks: progress}, io.LimitReader(target.Pattern(), uploadSize))
		if err == nil {
			err = upload.Close() // the target waits for the end of the upload
		}
		sent <- err
	}()
	return sent, progress
}

// wantPaused lets the pause pass, and expects that the upload has not ended by then.
func wantPaused(t *testing.T, sent chan error) {
	t.Helper()
	select {
	case err := <-sent:
		t.Errorf("during the pause the upload ended: %v", err)
		sent <- err
	case <-time.After(pauseLength): // the fault itself: nothing is awaited
	}
}

// wantUploaded waits for the end of an upload, and expects that all of it arrives.
func (r *rig) wantUploaded(t *testing.T, sent <-chan error) {
	t.Helper()
	if err := <-sent; err != nil {
		t.Errorf("the upload ended with %v", err)
	}
	select {
	case got := <-r.targets.Sunk():
		if want := (target.Sunk{N: uploadSize, SHA256: target.PatternHash(uploadSize)}); got != want {
			t.Errorf("the target got %+v, want %+v", got, want)
		}
	case <-time.After(2 * hang):
		t.Error("the target waits for the end of the upload")
	}
}
