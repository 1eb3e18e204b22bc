// SPDX-License-Identifier: Apache-2.0

package dialer

import "testing"

// samples returns the values of a metric with one label, by that label.
func (f *fixture) samples(t *testing.T, name string) map[string]float64 {
	t.Helper()
	families, err := f.registry.Gather()
	must(t, err)
	samples := map[string]float64{}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			samples[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return samples
}
