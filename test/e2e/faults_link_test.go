// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

var links = []lab.Link{lab.PodLink, lab.ShootLink}

// TestALossyLink: a link that loses packets makes transfers slow, never wrong.
func TestALossyLink(t *testing.T) {
	const size = 4 << 20
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newRig(t, lab.Options{Mode: mode})
		for _, link := range links {
			undo, err := r.Loss(labtest.Context(t, hang), link, 0.03)
			if err != nil {
				t.Fatal(err)
			}
			r.transferBothWays(t, fmt.Sprintf("3 %% of the packets lost on %s", link), size)
			if err := undo(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestAFarAndNarrowLink: distance and a narrow link make transfers slow, never wrong.
func TestAFarAndNarrowLink(t *testing.T) {
	const size = 4 << 20
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newRig(t, lab.Options{Mode: mode, AgentRelay: true})
		r.AgentDelay(50 * time.Millisecond)
		if _, err := r.Bandwidth(labtest.Context(t, hang), lab.PodLink, 4<<20); err != nil {
			t.Fatal(err)
		}
		r.transferBothWays(t, "100 ms round trip and 4 MiB/s", size)
	})
}

// transferBothWays downloads and uploads, and compares what arrived.
func (r *rig) transferBothWays(t *testing.T, over string, size int64) {
	t.Helper()
	ctx := labtest.Context(t, 2*time.Minute)
	began := time.Now()
	got := target.NewPatternWriter()
	url := func(path string) string { return lab.URL(lab.ShootPod(lab.IPv4, 1), target.HTTPPort, path) }
	if _, err := r.app(ctx, nil, got, "curl", "-sS", url(fmt.Sprintf("/file?bytes=%d", size))); err != nil || got.N != size {
		t.Errorf("%s: %d of %d bytes came down: %v", over, got.N, size, err)
	}
	down := time.Since(began)
	began = time.Now()
	out, err := r.app(ctx, io.LimitReader(target.Pattern(), size), nil, "curl", "-sS", "-T", "-", url("/upload"))
	if want := fmt.Sprintf("%d %s\n", size, target.PatternHash(size)); err != nil || out.Stdout != want {
		t.Errorf("%s: of the upload arrived %q, want %q: %v", over, out.Stdout, want, err)
	}
	up := time.Since(began)
	rate := func(d time.Duration) float64 { return float64(size>>10) / 1024 / d.Seconds() }
	t.Logf("%s: %.1f MiB/s down, %.1f MiB/s up", over, rate(down), rate(up))
}

// TestAPartitionThatHeals: a partition that ends before a peer gives up costs only its
// own time.
func TestAPartitionThatHeals(t *testing.T) {
	const length = 5 * time.Second
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newRig(t, lab.Options{Mode: mode})
		r.targets.Hold()
		x := r.startRaw(t, lab.ShootPod(lab.IPv4, 1))
		live := r.startLive(t, 5)
		quiet := r.startQuiet(t, 5)
		began := time.Now()
		for _, link := range links {
			undo, err := r.Partition(labtest.Context(t, hang), link)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(length) // the fault itself: nothing is awaited
			if err := undo(); err != nil {
				t.Fatal(err)
			}
			healed := time.Now()
			if _, err := io.CopyN(x.got, x.conn, 1<<20); err != nil {
				t.Errorf("%s: the download did not survive: %v", link, err)
			}
			t.Logf("%s: the download went on, 1 MiB took %s", link, time.Since(healed).Round(time.Millisecond))
			r.wantServes(t)
		}
		r.targets.Release()
		if err := x.finish(); err != nil {
			t.Errorf("the download ended with %v", err)
		}
		live.wantEnded(t, 0, began, nil)
		quiet.wantEnded(t, 0, began, nil)
	})
}

// TestAServerCutOffFromItsAgent: a partition between server and agent lasts. Upstream
// notices nothing for a long time. Dials fail within their budget, and open connections
// wait. Everything works again when it ends.
func TestAServerCutOffFromItsAgent(t *testing.T) {
	const budget = 2 * time.Second
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newRig(t, lab.Options{Mode: mode}, "--dial-timeout="+budget.String())
		quiet := r.startQuiet(t, 5)
		began := time.Now()
		undo, err := r.Partition(labtest.Context(t, hang), lab.ShootLink)
		if err != nil {
			t.Fatal(err)
		}
		before := r.metrics(t)
		for range 3 {
			r.wantReset(t, lab.ShootPod(lab.IPv4, 1), target.SpeakFirstPort, budget+slack)
		}
		eventually(t, "the failed dials to be counted", func(ctx context.Context) error {
			after, err := r.SidecarMetrics(ctx)
			if err != nil {
				return err
			}
			grown := increases("proxy_client_dial_failures_total", before, after)
			if fmt.Sprint(grown) != `map[reason="timeout":3]` {
				err = fmt.Errorf("counted %s", strings.TrimPrefix(fmt.Sprint(grown), "map"))
			}
			return err
		})
		if err := undo(); err != nil {
			t.Fatal(err)
		}
		r.wantServes(t)
		quiet.wantEnded(t, 0, began, nil)
		quiet.finish()
		r.wantNoLeak(t)
	})
}

// TestKeepaliveFindsAnAgentThatIsGone: the node of an agent loses its power. The server
// gets no sign of that. With --keepalive-time it asks, and forgets an agent that does not
// answer for 20 s, which is grpc-go's limit.
func TestKeepaliveFindsAnAgentThatIsGone(t *testing.T) {
	t.Parallel()
	r := newBareRig(t, lab.Options{ServerFlags: []string{"--keepalive-time=1s"}})
	if _, err := r.Partition(labtest.Context(t, hang), lab.ShootLink); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, 2*time.Minute, "the server to forget its agent", r.noAgent)
}
