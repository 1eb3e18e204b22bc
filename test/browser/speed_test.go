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
	tries = 9
	// promised is how long the page's main thread may work for one step.
	promised = 100 * time.Millisecond
	// usual is what sortNumbers takes on the machine that the promise is for: two cores
	// of 2023.
	usual = 25 * time.Millisecond
	// maxRows and maxElements bound the work of a frame, however many connections there
	// are.
	maxRows, maxElements = 60, 2500
)

// sortNumbers is work that is not the page's. Where it takes longer than usual, everything
// does.
const sortNumbers = "Array.from({ length: 100000 }, (_, i) => (i * 7919) % 100003).sort((a, b) => a - b)"

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
	worked, err := p.Worked(labtest.Context(p.t, hang))
	if err != nil {
		p.t.Fatal(err)
	}
	return worked
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// movesManyConnections scrolls, filters, sorts and updates 10,000 connections.
func movesManyConnections(t *testing.T, r *rig) {
	const connections = 10000
	const newList = "take a new list"
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
		// The page asks for everything at once when it goes on.
		newList: func() {
			p.do(`performance.clearResourceTimings(); document.querySelector("#pause").click(); document.querySelector("#pause").click()`)
			p.until(`performance.getEntriesByType("resource").some(({ name }) => name.endsWith("/connections"))`)
		},
		"filter": func() { p.filter(filters[at%len(filters)]) },
		"sort": func() {
			p.do(fmt.Sprintf(`document.querySelector("[role=columnheader].%s button").click()`, sorts[at%len(sorts)]))
		},
	} {
		var times, others []time.Duration
		for at = range tries {
			times = append(times, p.work(step))
			others = append(others, p.work(func() { p.do(sortNumbers) }))
			p.wantLittleWork(name)
		}
		p.filter("")
		limit := time.Duration(float64(promised) * max(1, float64(median(others))/float64(usual)))
		if name == newList {
			limit *= 2 // it comes every 5 s, and the whole page is drawn again
		}
		t.Logf("%s, 10,000 connections: %v of the main thread (median of %d; the longest %v); sorting numbers: %v", name, median(times), tries, slices.Max(times), median(others))
		if median(times) > limit {
			t.Errorf("%s takes %v of the main thread, more than %v", name, median(times), limit)
		}
	}
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
