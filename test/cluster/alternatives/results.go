// SPDX-License-Identifier: Apache-2.0

package alternatives

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/test/machine"
)

// Way is a way from a Prometheus in the seed to its targets in the shoot. Its value is in
// the names of the files of examples/prometheus.
type Way string

// The ways.
const (
	Sidecar     Way = "sidecar"
	Proxy       Way = "apiserver-proxy"
	PortForward Way = "port-forward"
)

// Ways returns all of them, in the order of the tables.
func Ways() []Way { return []Way{Sidecar, Proxy, PortForward} }

// title returns the name in tables and plots.
func (w Way) title() string {
	switch w {
	case Sidecar:
		return "sidecar"
	case Proxy:
		return "proxy of kube-apiserver"
	default:
		return "kubectl port-forward"
	}
}

// Component is one of the programs whose CPU time is measured.
type Component string

// The components. Beside is the container in the pod of Prometheus, proxy-client or
// kubectl.
const (
	APIServer    Component = "kube-apiserver"
	ProxyServers Component = "proxy-servers"
	Beside       Component = "beside Prometheus"
)

// Components returns all of them, in the order of the tables.
func Components() []Component { return []Component{APIServer, ProxyServers, Beside} }

// Kubelet is the job of the targets that ask kube-apiserver who their client is.
const Kubelet = "kubelet"

// Results are everything that was measured in one run.
type Results struct {
	Machine machine.Machine
	// Rounds is how often each way was measured alone, and Window how many seconds long.
	Rounds int
	Window float64
	Costs  map[Way]*Cost
	Outage Outage
}

// Cost is what scrapes cost while no other way is used.
type Cost struct {
	// Durations are those of the scrapes, in milliseconds, as Prometheus reports them.
	Durations []float64
	// CPU is the time of a component for each scrape, in milliseconds, by round. What the
	// component takes without any scrape is subtracted.
	CPU map[Component][]float64
}

// Outage is what happened while kube-apiserver was dead. Times are in seconds, and it was
// killed at 0.
type Outage struct {
	// Ready is when a new kube-apiserver was ready. End is when the run ended.
	Ready, End float64
	// Successes are the times of successful scrapes, by way and target. A target is
	// "JOB INSTANCE".
	Successes map[Way]map[string][]float64
}

// New returns empty results of this machine.
func New(rounds int, window float64) *Results {
	r := &Results{
		Machine: machine.This(), Rounds: rounds, Window: window,
		Costs:  map[Way]*Cost{},
		Outage: Outage{Successes: map[Way]map[string][]float64{}},
	}
	for _, w := range Ways() {
		r.Costs[w] = &Cost{CPU: map[Component][]float64{}}
	}
	return r
}

// Read reads the results that [Results.Write] has written.
func Read(path string) (*Results, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Results
	return &r, json.Unmarshal(text, &r)
}

// Write writes results.json, results.md and results.svg into a folder.
func (r *Results) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"results.json": append(text, '\n'), "results.md": r.Markdown(), "results.svg": r.Plot()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// percentile returns the smallest sample that p percent of the samples do not exceed.
func percentile(samples []float64, p float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// age returns the age of a way's newest successful sample at a time. Of several targets
// it is the oldest one's. The kubelets' targets are others than those of pods.
func (o *Outage) age(w Way, kubelet bool, at float64) float64 {
	oldest := 0.0
	for target, times := range o.Successes[w] {
		if strings.HasPrefix(target, Kubelet+" ") != kubelet {
			continue
		}
		age := math.Inf(1)
		for _, t := range times {
			if t <= at {
				age = min(age, at-t)
			}
		}
		oldest = max(oldest, age)
	}
	return oldest
}

// worst returns the highest age between the kill and the end.
func (o *Outage) worst(w Way, kubelet bool) float64 {
	worst := max(o.age(w, kubelet, 0), o.age(w, kubelet, o.End))
	for target, times := range o.Successes[w] {
		if strings.HasPrefix(target, Kubelet+" ") != kubelet {
			continue
		}
		for i := 1; i < len(times); i++ {
			if times[i] > 0 { // just before it the sample is oldest
				worst = max(worst, times[i]-times[i-1])
			}
		}
	}
	return worst
}
