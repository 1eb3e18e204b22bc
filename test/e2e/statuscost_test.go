// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// watcherVariable makes this program the reader of a status page, and a Prometheus. It has
// the number of connections. Both are a process of their own, as in life: their work must
// not delay the goroutines that measure.
const watcherVariable = "E2E_WATCHER"

// beWatcher asks for the page's documents at the intervals of main.js, and scrapes every
// 5 s. It returns after the first error. In life a browser and a Prometheus run on other
// machines, so their own work must not be measured: startWatcher gives this process the
// scheduling class SCHED_IDLE (sched(7)).
func beWatcher(connections string) error {
	n, err := strconv.Atoi(connections)
	if err != nil {
		return fmt.Errorf("%s=%q: %w", watcherVariable, connections, err)
	}
	failed := make(chan error)
	for url, pause := range map[string]time.Duration{
		"http://" + adminAddress + "/state":                        time.Second,
		"http://" + adminAddress + "/failures":                     2 * time.Second,
		"http://" + adminAddress + "/history":                      5 * time.Second,
		"http://" + adminAddress + "/connections":                  time.Second + time.Duration(n/2500)*time.Second,
		fmt.Sprintf("http://127.0.0.1:%d/metrics", lab.HealthPort): 5 * time.Second,
	} {
		go func() {
			for {
				if err := discard(url); err != nil {
					failed <- err
				}
				time.Sleep(pause)
			}
		}()
	}
	return <-failed
}

// discard reads a document and keeps nothing.
func discard(url string) error {
	answer, err := http.Get(url) //nolint:noctx // the process ends with its measurement
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// startWatcher starts one in the pod. end stops it.
func (r *rig) startWatcher(t testing.TB, connections int) (end func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	process, err := r.Pod.Start("watcher", lab.Command{
		Path: "/usr/bin/chrt", Args: []string{"--idle", "0", self},
		Env: []string{fmt.Sprint(watcherVariable, "=", connections)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if !process.Running() {
			t.Errorf("the page was not answered: %s", process.Log())
		}
		process.Kill()
	}
}

// BenchmarkStatusPage measures how much longer a round trip takes beside many idle
// connections while the status page is open and Prometheus scrapes. Phases with and
// without the two take turns. All round trips of one kind are one sample: the p99 of a
// single phase differs by a factor of two from the next, also without the page. It also
// reports the memory of the sidecar before its first connection.
func BenchmarkStatusPage(b *testing.B) {
	for _, tt := range []struct {
		mode        lab.Mode
		connections int
	}{{lab.GRPC, 10_000}, {lab.HTTPConnect, 9_500}} {
		b.Run(string(tt.mode), func(b *testing.B) {
			r := newRig(b, lab.Options{Mode: tt.mode}, "--mode="+string(tt.mode), "--dial-timeout=1m")
			time.Sleep(settle)
			rest := r.residentMiB(b)
			end := r.startCrowd(b, tt.connections)
			defer end()
			p := startPulse(b, r.asApp)
			b.ReportMetric(rest, "rest-MiB")
			r.measureWatcher(b, p, tt.connections)
			p.wantAlive(b, "the status page")
		})
	}
}

// measureWatcher reports the figures of BenchmarkStatusPage.
func (r *rig) measureWatcher(b *testing.B, p *pulse, connections int) {
	const (
		rounds  = 21
		seconds = 5 * time.Second // in which each document is asked for at least once
	)
	phase := func() (rtts []time.Duration, cpu float64) {
		p.forget()
		before := r.cpuSeconds(b)
		time.Sleep(seconds) // the time of the measurement
		return p.take(), r.cpuSeconds(b) - before
	}
	var alone, watched []time.Duration
	var cpu float64
	for range rounds {
		without, cpuAlone := phase()
		end := r.startWatcher(b, connections)
		with, cpuWatched := phase()
		end()
		b.Logf("alone: %s; watched: %s", figuresOf(without), figuresOf(with))
		alone, watched, cpu = append(alone, without...), append(watched, with...), cpu+cpuWatched-cpuAlone
	}
	without, with := figuresOf(alone), figuresOf(watched)
	b.ReportMetric(float64(with.p50)/float64(without.p50), "p50-ratio")
	b.ReportMetric(float64(with.p99)/float64(without.p99), "p99-ratio")
	b.ReportMetric(without.p99.Seconds()*1e3, "p99-alone-ms")
	b.ReportMetric(with.p99.Seconds()*1e3, "p99-watched-ms")
	b.ReportMetric(100*cpu/(rounds*seconds.Seconds()), "more-CPU-%")
	b.ReportMetric(0, "ns/op")
}

// settle is how long a sidecar runs until its memory at rest is read.
const settle = 5 * time.Second

// residentMiB returns the memory of the sidecar (VmRSS).
func (r *rig) residentMiB(t testing.TB) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.sidecar.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

// cpuSeconds returns how much CPU time the sidecar has taken, as the kernel counts it.
func (r *rig) cpuSeconds(t testing.TB) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.sidecar.PID()))
	if err != nil {
		t.Fatal(err)
	}
	// proc_pid_stat(5): the name may have spaces. Behind it utime and stime are fields 12
	// and 13, in clock ticks, which are 10 ms on every Linux.
	_, rest, _ := strings.Cut(string(text), ") ")
	var ticks float64
	for _, field := range strings.Fields(rest)[11:13] {
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return ticks / 100
}

// crowdError returns an error if a crowd did not get n answers.
func crowdError(text string, n int) error {
	var got crowd
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		return err
	}
	if got.Answers["one"] != n {
		return fmt.Errorf("%d of %d answers: %q", got.Answers["one"], n, got.Failed)
	}
	return nil
}

// startCrowd opens connections of apps in the pod, each with one request that has no
// answer yet. They stay open until end.
func (r *rig) startCrowd(t testing.TB, n int) (end func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r.targets.SetName("one")
	r.targets.Hold()
	ended := make(chan error, 1)
	go func() {
		got, err := r.Pod.Run(labtest.Context(t, crowdLife+hang), lab.Command{Path: self, Env: []string{fmt.Sprint(crowdVariable, "=", n)}})
		ended <- errors.Join(err, crowdError(got.Stdout, n))
	}()
	err = lab.Poll(labtest.Context(t, crowdLimit), "all connections", func(context.Context) error {
		if len(ended) > 0 {
			t.Fatalf("the apps have ended: %v", <-ended)
		}
		if held := r.targets.Held(); held < n {
			return fmt.Errorf("%d of %d are open", held, n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		r.targets.Release()
		if err := <-ended; err != nil {
			t.Errorf("the apps: %v", err)
		}
	}
}
