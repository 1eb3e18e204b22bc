// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// dashboardQueries returns all queries of the chart's dashboards by where they are. What
// Grafana fills in is filled in.
func dashboardQueries(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../charts/proxy-client/dashboards/*.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("dashboards: %q, %v", files, err)
	}
	queries := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			Templating struct {
				List []struct{ Name, Type, Query string }
			}
			Panels []struct {
				Title   string
				Targets []struct{ RefID, Expr string }
			}
		}
		if err := json.Unmarshal(text, &board); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, variable := range board.Templating.List {
			if variable.Type == "query" {
				queries[filepath.Base(file)+", variable "+variable.Name] = labelValues(t, variable.Query)
			}
		}
		for _, panel := range board.Panels {
			for _, target := range panel.Targets {
				queries[filepath.Base(file)+", panel "+panel.Title+" "+target.RefID] = filled(target.Expr)
			}
		}
	}
	return queries
}

// filled replaces what Grafana replaces.
func filled(query string) string {
	return grafanaVariable.ReplaceAllString(strings.ReplaceAll(query, "$__rate_interval", "5m"), ".*")
}

// grafanaVariable matches a variable of a dashboard. All of ours stand for a pattern.
var grafanaVariable = regexp.MustCompile(`\$[a-z]+`)

// labelValues returns PromQL that names what a variable's query does. Grafana has a
// function of its own for it.
func labelValues(t *testing.T, query string) string {
	t.Helper()
	match := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(query)
	if match == nil {
		t.Fatalf("%s is not label_values(metric, label)", query)
	}
	return "count by (" + match[2] + ") (" + filled(match[1]) + ")"
}
