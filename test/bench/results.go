// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"math"
	"slices"

	"github.com/shoot-proxy/proxy-client/test/machine"
)

// Results are everything that was measured. Samples of one figure are in the order of the
// rounds. Each contender has the same number of samples.
type Results struct {
	Machine  machine.Machine
	Scale    string
	Figures  map[string]map[Contender][]float64
	Steps    map[Contender][][3]float64 // of idle connections, by round
	Failures map[Contender]int          `json:",omitempty"` // jobs that were done again
	Targets  []Verdict                  `json:",omitempty"`
}

func newResults(scale Scale) *Results {
	return &Results{
		Scale: scale.String(), Machine: machine.This(),
		Figures: map[string]map[Contender][]float64{}, Steps: map[Contender][][3]float64{}, Failures: map[Contender]int{},
	}
}

func (r *Results) add(figure string, c Contender, value float64) {
	if r.Figures[figure] == nil {
		r.Figures[figure] = map[Contender][]float64{}
	}
	r.Figures[figure][c] = append(r.Figures[figure][c], value)
}

func (r *Results) failed(c Contender) { r.Failures[c]++ }

// Median returns the median of a contender's samples; NaN if there are none.
func (r *Results) Median(figure string, c Contender) float64 { return median(r.Figures[figure][c]) }

// ratios returns the ratios of two contenders, round by round.
func (r *Results) ratios(figure string, ours, other Contender) []float64 {
	a, b := r.Figures[figure][ours], r.Figures[figure][other]
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = a[i] / b[i]
	}
	return ratios
}

func median(samples []float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// spread returns the largest distance of a sample from the median, as a part of the
// median.
func spread(samples []float64) float64 {
	m := median(samples)
	var far float64
	for _, s := range samples {
		far = max(far, math.Abs(s-m))
	}
	if far == 0 {
		return 0
	}
	return far / m
}

func pick[T any](condition bool, yes, no T) T {
	if condition {
		return yes
	}
	return no
}
