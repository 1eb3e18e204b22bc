// SPDX-License-Identifier: Apache-2.0

package alternatives

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

// Markdown returns the table for the document. A CPU time is the median of the rounds,
// with the lowest and the highest one.
func (r *Results) Markdown() []byte {
	var b bytes.Buffer
	row := func(name string, cell func(Way) string) {
		cells := []string{name}
		for _, w := range Ways() {
			cells = append(cells, cell(w))
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	row("", Way.title)
	row("---", func(Way) string { return "---" })
	for _, p := range []float64{50, 99} {
		row(fmt.Sprintf("time of a scrape, p%g (ms)", p), func(w Way) string { return number(percentile(r.Costs[w].Durations, p)) })
	}
	for _, c := range Components() {
		row(fmt.Sprintf("CPU time of %s for each scrape (ms)", c.words()), func(w Way) string {
			if w == Proxy && c == Beside {
				return "-"
			}
			samples := r.Costs[w].CPU[c]
			return fmt.Sprintf("%s (%s to %s)", number(percentile(samples, 50)), number(percentile(samples, 0)), number(percentile(samples, 100)))
		})
	}
	row("CPU time of all these together (ms)", func(w Way) string { return number(r.Costs[w].total()) })
	row("age of the newest sample without cAdvisor, at most (s)", func(w Way) string { return number(r.Outage.worst(w, false)) })
	row("the same for the kubelet's cAdvisor (s)", func(w Way) string { return number(r.Outage.worst(w, true)) })
	return b.Bytes()
}

// words returns what the document calls a component.
func (c Component) words() string {
	if c == Beside {
		return "the container beside Prometheus"
	}
	return string(c)
}

// total returns the sum of the components' medians.
func (c *Cost) total() float64 {
	var sum float64
	for _, component := range Components() {
		if samples := c.CPU[component]; len(samples) != 0 {
			sum += max(0, percentile(samples, 50))
		}
	}
	return sum
}

// number formats x with two significant digits.
func number(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) || x == 0 {
		return fmt.Sprint(x)
	}
	digits := 1 - int(math.Floor(math.Log10(math.Abs(x))))
	return fmt.Sprintf("%.*f", max(0, digits), x)
}
