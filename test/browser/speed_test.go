// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/browser/sample"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

const (
	// tries is how often each step is measured. Its median counts.
	tries = 15
	// promised is how long the page's main thread may work for one step.
	promised = 100 * time.Millisecond
	// usual is what the calibration takes on the machine that the promise is for: two
	// cores of 2023, idle.
	usual = 40 * time.Millisecond
	// maxRows and maxElements bound the work of a frame, however many connections there
	// are.
	maxRows, maxElements = 60, 2500
)

// calibrate returns how long the page takes for work that is not ours. On a machine that is
// busy, or slower, it is longer, and so is everything else.
func (p *page) calibrate() time.Duration {
	p.t.Helper()
	var times []time.Duration
	for range tries {
		milliseconds := value[float64](p, `(() => {
			const start = performance.now();
			Array.from({ length: 100000 }, (_, i) => (i * 7919) % 100003).sort((a, b) => a - b);
			return performance.now() - start;
		})()`)
		times = append(times, time.Duration(milliseconds*float64(time.Millisecond)))
	}
	return median(times)
}

// work returns how long the main thread works for a step and the two frames after it.
func (p *page) work(step func()) time.Duration {
	p.t.Helper()
	before := p.worked()
	step()
	value[any](p, "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")
	return p.worked() - before
}

func (p *page) worked() time.Duration {
	p.t.Helper()
	metrics, err := p.Metrics(labtest.Context(p.t, hang))
	if err != nil {
		p.t.Fatal(err)
	}
	return time.Duration(metrics["TaskDuration"] * float64(time.Second))
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// movesManyConnections scrolls, filters, sorts and updates 10,000 connections.
func movesManyConnections(t *testing.T, r *rig) {
	const connections = 10000
	m := r.serve(t, "127.0.0.1:0", sample.Sidecar{Instance: "many", Started: time.Now().Add(-time.Hour), Connections: connections}, nil)
	p := r.open(t, m.address, desktop)
	p.do(`document.querySelector("#connections").scrollIntoView({ behavior: "instant" })`)
	p.says("#connections", "10,000 connections")
	if height := value[int](p, `document.querySelector(".virtual").scrollHeight`); height < connections*20 {
		t.Errorf("the table is %d high, too little for 10,000 rows", height)
	}
	filters := []string{"10.250", ":9100", "", "100.64.7", ":443"}
	sorts := []string{"destination", "rate", "sent", "age", "id"}
	at := 0
	for name, step := range map[string]func(){
		"scroll": func() {
			p.do(fmt.Sprintf(`const table = document.querySelector(".virtual"); table.scrollTop = table.scrollHeight * %d / 17`, 1+at%15))
		},
		"filter": func() { p.filter(filters[at%len(filters)]) },
		"sort": func() {
			p.do(fmt.Sprintf(`document.querySelector("[role=columnheader].%s button").click()`, sorts[at%len(sorts)]))
		},
	} {
		var times []time.Duration
		for at = range tries {
			times = append(times, p.work(step))
			p.wantLittleWork(name)
		}
		p.filter("")
		calibration := p.calibrate()
		limit := time.Duration(float64(promised) * max(1, float64(calibration)/float64(usual)))
		t.Logf("%s of 10,000 connections: %v of the main thread (median of %d; the longest %v); calibration %v", name, median(times), tries, slices.Max(times), calibration)
		if median(times) > limit {
			t.Errorf("%s takes %v of the main thread, more than %v", name, median(times), limit)
		}
	}
	lists := m.lists.Load()
	p.until(fmt.Sprintf("performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/connections')).length > %d", lists))
}

// wantLittleWork fails the test if there are more elements than rows in sight need.
func (p *page) wantLittleWork(step string) {
	p.t.Helper()
	rows := value[int](p, `document.querySelectorAll(".virtual [role=row]").length`)
	elements := value[int](p, `document.querySelectorAll("*").length`)
	if rows == 0 || rows > maxRows || elements > maxElements {
		p.t.Errorf("%s: the page has %d rows and %d elements, at most %d and %d are wanted", step, rows, elements, maxRows, maxElements)
	}
}
