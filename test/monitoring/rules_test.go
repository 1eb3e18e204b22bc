// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"os"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// rule is a rule of the chart.
type rule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

// rulesOf returns all rules of the chart.
func rulesOf(t *testing.T) []rule {
	t.Helper()
	var all []rule
	for _, file := range ruleFiles(t) {
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

// alertsOf returns the chart's alerts, each as "name severity", sorted.
func alertsOf(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, r := range rulesOf(t) {
		if r.Alert != "" {
			all = append(all, r.Alert+" "+r.Labels["severity"])
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
