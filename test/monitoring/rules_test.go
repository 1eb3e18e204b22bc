// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"os"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// rule is a rule of a chart.
type rule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

// rulesOf returns all rules of a chart.
func rulesOf(t *testing.T, chart string) []rule {
	t.Helper()
	var all []rule
	for _, file := range ruleFiles(t, chart) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var content struct{ Groups []struct{ Rules []rule } }
		if err := yaml.Unmarshal(text, &content); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, group := range content.Groups {
			all = append(all, group.Rules...)
		}
	}
	return all
}

// alertsOf returns a chart's alerts, each as "name severity", sorted.
func alertsOf(t *testing.T, chart string) []string {
	t.Helper()
	var all []string
	for _, r := range rulesOf(t, chart) {
		if r.Alert != "" {
			all = append(all, r.Alert+" "+r.Labels["severity"])
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
