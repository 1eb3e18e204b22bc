// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"strconv"
	"strings"
)

// Metrics are samples by their series as Prometheus' text format spells it, such as
// `proxy_client_dial_failures_total{reason="refused"}`.
type Metrics map[string]float64

// Sum adds up all series of one metric, whatever their labels.
func (m Metrics) Sum(name string) float64 {
	var sum float64
	for series, value := range m {
		if bare, _, _ := strings.Cut(series, "{"); bare == name {
			sum += value
		}
	}
	return sum
}

// ParseMetrics reads the text format. It does not interpret histograms or timestamps.
func ParseMetrics(text string) Metrics {
	m := Metrics{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		if i < 0 {
			continue
		}
		if value, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
			m[line[:i]] = value
		}
	}
	return m
}

func (n *Namespace) metrics(ctx context.Context, url string) (Metrics, error) {
	text, err := Get(ctx, n.HTTP(), url)
	if err != nil {
		return nil, err
	}
	return ParseMetrics(text), nil
}
