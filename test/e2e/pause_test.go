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

// pauseLength is how long a target pauses, three times the time after which a
// server that acknowledges nothing counts as gone.
const pauseLength = 3 * deadPeer

// A target that pauses slows its upload, however long the pause: nothing is lost
// and nothing is reset. While it pauses, the proxy-server may let its receive
// window become zero, and its kernel answers the probes of ours.
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

// testPausedUpload uploads to a target that pauses, beside so many connections
// that talk and as many that are silent.
func (r *rig) testPausedUpload(t *testing.T, others int) {
	t.Helper()
	const size = 64 << 20
	r.targets.Hold()
	quiet, live := r.startQuiet(t, others), r.startLive(t, others)
	upload, err := r.dial(labtest.Context(t, 4*time.Minute), lab.ShootPod(lab.IPv4, 1), target.StuckPort)
	if err != nil {
		t.Fatal(err)
	}
	defer upload.Close()
	sent := make(chan error, 1)
	progress := make(chan int64, 1)
	began := time.Now()
	go func() {
		_, err := io.Copy(&marking{to: upload, marks: progress}, io.LimitReader(target.Pattern(), size))
		if err == nil {
			err = upload.Close() // the target waits for the end
		}
		sent <- err
	}()
	t.Logf("%d KiB of the upload were taken before it stood still", waitStuck(t, progress, sent)>>10)
	select {
	case err := <-sent:
		t.Errorf("the target paused, and the upload ended: %v", err)
		sent <- err
	case <-time.After(pauseLength): // not for something: it is the fault
	}
	r.targets.Release()
	if err := <-sent; err != nil {
		t.Errorf("the upload ended with %v", err)
	}
	select {
	case got := <-r.targets.Sunk():
		if want := (target.Sunk{N: size, SHA256: target.PatternHash(size)}); got != want {
			t.Errorf("the target got %+v, want %+v", got, want)
		}
	case <-time.After(2 * hang):
		t.Error("the target waits for the end of the upload")
	}
	quiet.wantEnded(t, 0, began, nil)
	live.wantEnded(t, 0, began, nil)
}
