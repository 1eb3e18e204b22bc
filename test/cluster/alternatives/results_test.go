// SPDX-License-Identifier: Apache-2.0

package alternatives

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the plot and the table of docs/alternatives.md from testdata/run.json")

// Paths of the document and its plot.
const (
	document = "../../../docs/alternatives.md"
	plot     = "../../../docs/alternatives.svg"
)

// The table is between these two lines of the document.
const (
	tableBegins = "<!-- the table is of make bench-alternatives -->\n"
	tableEnds   = "<!-- the table ends -->\n"
)

// TestDocumentShowsTheRun: the table and the plot of docs/alternatives.md are those of the
// run in testdata.
func TestDocumentShowsTheRun(t *testing.T) {
	run, err := Read("testdata/run.json")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, begins := strings.Cut(string(text), tableBegins)
	table, tail, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		t.Fatalf("%s has no table between %q and %q", document, tableBegins, tableEnds)
	}
	if *update {
		text := head + tableBegins + string(run.Markdown()) + tableEnds + tail
		if err := errors.Join(os.WriteFile(document, []byte(text), 0o644), os.WriteFile(plot, run.Plot(), 0o644)); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(string(run.Markdown()), table); d != "" {
		t.Errorf("the table of %s is not that of the run (-run +document):\n%s", document, d)
	}
	drawn, err := os.ReadFile(plot)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(drawn, run.Plot()) {
		t.Errorf("%s is not the plot of the run: `go test -C test/cluster ./alternatives -update` draws it", plot)
	}
}

// outage has a sidecar with a sample each second, and a proxy that stops at 0 and goes on
// at 62.
func outage() Outage {
	o := Outage{Ready: 60, End: 70, Successes: map[Way]map[string][]float64{
		Sidecar: {"pods exporter-0": nil, "pods exporter-1": nil, "kubelet shoot": {-5, 30, 68}},
		Proxy:   {"pods exporter-0": {-2, -1, 62, 63, 70}, "pods exporter-1": {-2, 63, 70}},
	}}
	for t := -20.0; t <= 70; t++ {
		o.Successes[Sidecar]["pods exporter-0"] = append(o.Successes[Sidecar]["pods exporter-0"], t)
		o.Successes[Sidecar]["pods exporter-1"] = append(o.Successes[Sidecar]["pods exporter-1"], t-0.5)
	}
	return o
}

func TestAgeIsTheOldestTargets(t *testing.T) {
	o := outage()
	for _, c := range []struct {
		way     Way
		kubelet bool
		at      float64
		want    float64
	}{
		{Sidecar, false, 30.25, 0.75},
		{Sidecar, true, 30, 0},
		{Sidecar, true, 29, 34},
		{Proxy, false, 60, 62}, // of exporter-1
		{Proxy, false, 63, 0},
		{Proxy, false, -3, math.Inf(1)},
		{PortForward, false, 5, 0}, // no target
	} {
		if got := o.age(c.way, c.kubelet, c.at); got != c.want {
			t.Errorf("the age of %s (kubelet: %t) at %g s is %g, want %g", c.way, c.kubelet, c.at, got, c.want)
		}
	}
	for _, c := range []struct {
		way     Way
		kubelet bool
		want    float64
	}{
		{Sidecar, false, 1},
		{Sidecar, true, 38},
		{Proxy, false, 65},
	} {
		if got := o.worst(c.way, c.kubelet); got != c.want {
			t.Errorf("the highest age of %s (kubelet: %t) is %g, want %g", c.way, c.kubelet, got, c.want)
		}
	}
	o.End = 200 // the samples ended at 70
	if got := o.worst(Proxy, false); got != 130 {
		t.Errorf("the highest age of samples that end is %g, want 130", got)
	}
}

func TestPercentile(t *testing.T) {
	samples := make([]float64, 100)
	for i := range samples {
		samples[i] = float64(100 - i)
	}
	for p, want := range map[float64]float64{1: 1, 50: 50, 99: 99, 100: 100} {
		if got := percentile(samples, p); got != want {
			t.Errorf("p%g of 1 to 100 is %g, want %g", p, got, want)
		}
	}
	if got := percentile([]float64{7}, 99); got != 7 {
		t.Errorf("p99 of one sample is %g, want 7", got)
	}
}

// TestTableAndPlot: both are whole, and a plot is XML.
func TestTableAndPlot(t *testing.T) {
	r := New(3, 15)
	for i, w := range Ways() {
		r.Costs[w].Durations = []float64{1, 2, float64(10 * (i + 1))}
		r.Costs[w].CPU = map[Component][]float64{APIServer: {1, 2, 3}, ProxyServers: {-0.1, 0, 0.5}, Beside: {1}}
	}
	r.Outage = outage()
	r.Outage.Successes[PortForward] = r.Outage.Successes[Proxy]
	want := `|  | sidecar | proxy of kube-apiserver | kubectl port-forward |
| --- | --- | --- | --- |
| time of a scrape, p50 (ms) | 2.0 | 2.0 | 2.0 |
| time of a scrape, p99 (ms) | 10 | 20 | 30 |
| CPU time of kube-apiserver for each scrape (ms) | 2.0 (1.0 to 3.0) | 2.0 (1.0 to 3.0) | 2.0 (1.0 to 3.0) |
| CPU time of proxy-servers for each scrape (ms) | 0 (-0.10 to 0.50) | 0 (-0.10 to 0.50) | 0 (-0.10 to 0.50) |
| CPU time of the container beside Prometheus for each scrape (ms) | 1.0 (1.0 to 1.0) | - | 1.0 (1.0 to 1.0) |
| CPU time of all these together (ms) | 3.0 | 3.0 | 3.0 |
| age of the newest sample without cAdvisor, at most (s) | 1.0 | 65 | 65 |
| the same for the kubelet's cAdvisor (s) | 38 | 0 | 0 |
`
	if d := cmp.Diff(want, string(r.Markdown())); d != "" {
		t.Errorf("the table (-want +got):\n%s", d)
	}
	decoder := xml.NewDecoder(bytes.NewReader(r.Plot()))
	drawn := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "path" {
			for _, a := range start.Attr {
				if a.Name.Local == "stroke-linejoin" {
					drawn++
				}
			}
		}
	}
	if drawn != len(lines()) {
		t.Errorf("the plot has %d lines, want %d", drawn, len(lines()))
	}
}
