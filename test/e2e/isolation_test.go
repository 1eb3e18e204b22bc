// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// frozen is what no round trip may take beside an app that reads slowly or not
// at all. A stock client freezes the others for 10 s, or for ever; what a busy
// machine adds to a delay is less.
const frozen = 5 * time.Second

// pulse measures round trips of one byte on one connection until stopped.
type pulse struct {
	stop chan struct{}
	done chan error
	rtts []time.Duration
}

func (r *rig) startPulse(t *testing.T) *pulse {
	t.Helper()
	conn, err := r.dial(labtest.Context(t, 5*time.Minute), lab.ShootPod(lab.IPv4, 1), target.EchoPort)
	if err != nil {
		t.Fatal(err)
	}
	p := &pulse{stop: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		defer conn.Close()
		var b [1]byte
		for {
			select {
			case <-p.stop:
				p.done <- nil
				return
			case <-time.After(2 * time.Millisecond): // the rate of the measurement
			}
			start := time.Now()
			if _, err := conn.Write(b[:]); err != nil {
				p.done <- err
				return
			}
			if _, err := io.ReadFull(conn, b[:]); err != nil {
				p.done <- err
				return
			}
			p.rtts = append(p.rtts, time.Since(start))
		}
	}()
	return p
}

func (p *pulse) end(t *testing.T, beside string) {
	t.Helper()
	close(p.stop)
	if err := <-p.done; err != nil {
		t.Errorf("beside %s another connection broke: %v", beside, err)
		return
	}
	slices.Sort(p.rtts)
	n := len(p.rtts)
	worst := p.rtts[n-1]
	t.Logf("beside %s: %d round trips, p50 %s, p99 %s, worst %s", beside, n, p.rtts[n/2], p.rtts[n*99/100], worst)
	if worst > frozen {
		t.Errorf("beside %s another connection stood still for %s", beside, worst)
	}
}

// One app that stops reading must not freeze the others.
func TestAnAppThatStopsReadingFreezesNobody(t *testing.T) {
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t, lab.Options{Mode: mode})
			r.idle(t)
			before := r.metrics(t)
			p := r.startPulse(t)
			stalled, err := r.dial(labtest.Context(t, time.Minute), lab.ShootPod(lab.IPv4, 1), target.HTTPPort)
			if err != nil {
				t.Fatal(err)
			}
			defer stalled.Close()
			if _, err := io.WriteString(stalled, "GET /file?bytes=1073741824 HTTP/1.0\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			r.wantCounted(t, "proxy_client_close_total", before, "slow_reader")
			p.end(t, "an app that has stopped reading")
		})
	}
}

// An app that reads slowly, but not that slowly, gets all of it.
func TestSlowAppsGetEverything(t *testing.T) {
	size := int64(64 << 20)
	if testing.Short() {
		size = 16 << 20
	}
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t, lab.Options{Mode: mode})
			for _, c := range []struct {
				rate string
				apps int
			}{{"10M", 1}} {
				name := fmt.Sprintf("%d at %s a second", c.apps, c.rate)
				t.Run(name, func(t *testing.T) {
					p := r.startPulse(t)
					results := make(chan error, c.apps)
					for range c.apps {
						go func() {
							got := target.NewPatternWriter()
							_, err := r.app(labtest.Context(t, 4*time.Minute), nil, got, "curl", "-sS", "--limit-rate", c.rate,
								lab.URL(lab.ShootPod(lab.IPv4, 1), target.HTTPPort, fmt.Sprintf("/file?bytes=%d", size)))
							if err == nil && got.N != size {
								err = fmt.Errorf("%d bytes of %d", got.N, size)
							}
							results <- err
						}()
					}
					for range c.apps {
						if err := <-results; err != nil {
							t.Error(err)
						}
					}
					p.end(t, name)
				})
			}
		})
	}
}
