// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/alternatives"
	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
)

// What BenchmarkAlternatives does. Four phases, of each way alone and of none, are a round.
const (
	benchRounds = 3
	benchWindow = 15 * time.Second
	// benchSettle is the time between the start of a phase and its window.
	benchSettle = 2 * time.Second
	// benchOutage is how long no kube-apiserver is started. It is dead a little longer.
	benchOutage = 60 * time.Second
	// benchAfter is how long the run goes on after all targets are scraped again.
	benchAfter = 5 * time.Second
)

// window is a time in which only one way was used.
type window struct {
	way      alternatives.Way // empty: none was used
	from, to time.Time
	used     map[alternatives.Component]time.Duration
}

// seconds returns how long it was.
func (w *window) seconds() float64 { return w.to.Sub(w.from).Seconds() }

// BenchmarkAlternatives measures what docs/alternatives.md shows, in one run: what scrapes
// cost in three ways, and how old the newest samples become while kube-apiserver is dead
// for a minute. It writes the results into the folder in the variable RESULTS, if that is
// set.
func BenchmarkAlternatives(b *testing.B) {
	c := newComparison(b)
	m := newMeter(b, c)
	var windows []*window
	for round := range benchRounds {
		for phase := range 4 {
			order := append([]alternatives.Way{""}, alternatives.Ways()...)
			windows = append(windows, m.measure(b, order[(round+phase)%len(order)]))
		}
	}
	results := alternatives.New(benchRounds, benchWindow.Seconds())
	m.resumeAll(b)
	for _, way := range alternatives.Ways() {
		c.awaitSuccesses(b, way, time.Now(), 10, "")
		scrapes, err := c.scrapes(clustertest.Context(b), way)
		if err != nil {
			b.Fatal(err)
		}
		addCosts(b, results.Costs[way], way, windows, scrapes)
	}
	c.measureOutage(b, &results.Outage)
	restartShootsPrograms(b, c.rig)
	b.Logf("%s", results.Markdown())
	if folder := os.Getenv("RESULTS"); folder != "" {
		if err := results.Write(folder); err != nil {
			b.Fatal(err)
		}
	}
}

// meter reads the CPU clocks of all components, and stops and resumes the three
// Prometheus.
type meter struct {
	comparison *comparison
	// clocks are those of each component. Beside has one for each way that needs one.
	clocks map[alternatives.Component][]*clustertest.CPUClock
	pids   map[alternatives.Way]int
}

// newMeter returns a meter. All three Prometheus are stopped.
func newMeter(b *testing.B, c *comparison) *meter {
	b.Helper()
	m := &meter{comparison: c, clocks: map[alternatives.Component][]*clustertest.CPUClock{}, pids: map[alternatives.Way]int{}}
	add := func(component alternatives.Component, pod *corev1.Pod, container string) {
		m.clocks[component] = append(m.clocks[component], c.rig.Seed.CPUClock(b, pod, container))
	}
	own := controlPlanePod(b, c.rig, kubeAPIServer)
	add(alternatives.APIServer, own, kubeAPIServer)
	add(alternatives.ProxyServers, own, own.Spec.InitContainers[0].Name) // of kube-apiserver alone
	add(alternatives.ProxyServers, controlPlanePod(b, c.rig, "konnectivity-server-grpc"), "konnectivity-server-grpc")
	add(alternatives.Beside, c.pods[alternatives.Sidecar], "proxy-client")
	add(alternatives.Beside, c.pods[alternatives.PortForward], "port-forward")
	for _, way := range alternatives.Ways() {
		m.pids[way] = c.rig.Seed.AwaitProcess(b, c.pods[way], "prometheus", "prometheus").PID
		m.signal(b, way, "STOP")
	}
	return m
}

// signal sends a signal to the Prometheus of a way.
func (m *meter) signal(b *testing.B, way alternatives.Way, name string) {
	b.Helper()
	if _, err := m.comparison.rig.Seed.Node.Run(clustertest.Context(b), "kill", "-"+name, strconv.Itoa(m.pids[way])); err != nil {
		b.Fatal(err)
	}
}

func (m *meter) resumeAll(b *testing.B) {
	b.Helper()
	for _, way := range alternatives.Ways() {
		m.signal(b, way, "CONT")
	}
}

// measure lets one way scrape alone, or none, and returns what all components have used.
func (m *meter) measure(b *testing.B, way alternatives.Way) *window {
	b.Helper()
	if way != "" {
		m.signal(b, way, "CONT")
		defer m.signal(b, way, "STOP")
	}
	time.Sleep(benchSettle)
	w := &window{way: way, from: time.Now(), used: m.read(b)}
	time.Sleep(benchWindow)
	w.to = time.Now()
	for component, used := range m.read(b) {
		w.used[component] = used - w.used[component]
	}
	return w
}

func (m *meter) read(b *testing.B) map[alternatives.Component]time.Duration {
	b.Helper()
	used := map[alternatives.Component]time.Duration{}
	for component, clocks := range m.clocks {
		for _, clock := range clocks {
			used[component] += clock.Read(b)
		}
	}
	return used
}

// addCosts adds what the scrapes in the windows of a way have cost. In each round, what
// the components used in the window without scrapes is subtracted.
func addCosts(b *testing.B, cost *alternatives.Cost, way alternatives.Way, windows []*window, scrapes map[string][]scrape) {
	b.Helper()
	for round := range benchRounds {
		var idle, busy *window
		for _, w := range windows[4*round : 4*round+4] {
			switch w.way {
			case "":
				idle = w
			case way:
				busy = w
			}
		}
		count := 0
		for _, all := range scrapes {
			for _, s := range all {
				if s.at.After(busy.from) && s.at.Before(busy.to) && s.ok {
					count++
					cost.Durations = append(cost.Durations, milliseconds(s.duration))
				}
			}
		}
		if count == 0 {
			b.Fatalf("%s has no successful scrape in the window of round %d", way, round+1)
		}
		for _, component := range alternatives.Components() {
			if component == alternatives.Beside && way == alternatives.Proxy {
				continue
			}
			used := milliseconds(busy.used[component]) - milliseconds(idle.used[component])*busy.seconds()/idle.seconds()
			cost.CPU[component] = append(cost.CPU[component], used/float64(count))
		}
	}
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}

// measureOutage lets all three scrape while kube-apiserver is killed, and started again
// after [benchOutage].
func (c *comparison) measureOutage(b *testing.B, o *alternatives.Outage) {
	b.Helper()
	killed, _ := killKubeAPIServer(b, c.rig)
	time.Sleep(time.Until(killed.Add(benchOutage)))
	ready := startKubeAPIServer(b, c.rig)
	for _, way := range alternatives.Ways() {
		c.awaitSuccesses(b, way, ready, 1, "")
	}
	time.Sleep(benchAfter)
	end := time.Now()
	o.Ready, o.End = rounded(ready.Sub(killed)), rounded(end.Sub(killed))
	for _, way := range alternatives.Ways() {
		found, err := c.scrapes(clustertest.Context(b), way)
		if err != nil {
			b.Fatal(err)
		}
		o.Successes[way] = map[string][]float64{}
		for target, scrapes := range found {
			for _, s := range scrapes {
				// The age before the kill needs samples before the plot begins.
				if s.ok && s.at.After(killed.Add(-20*time.Second)) && s.at.Before(end) {
					o.Successes[way][target] = append(o.Successes[way][target], rounded(s.at.Sub(killed)))
				}
			}
		}
	}
}

// rounded returns seconds, rounded to a millisecond.
func rounded(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}
