// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// ruleGroups are the groups of one or more files of Prometheus' rules.
type ruleGroups []struct {
	Name  string
	Rules []map[string]any
}

// fileRules returns the groups of a chart's files, in helm's order.
func fileRules(t *testing.T, folder string) ruleGroups {
	t.Helper()
	var all ruleGroups
	for _, file := range files(t, folder+"/rules/*.yaml") {
		var content struct{ Groups ruleGroups }
		if err := yaml.Unmarshal([]byte(read(t, file)), &content); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, content.Groups...)
	}
	return all
}

// TestPrometheusRuleHasTheRulesOfTheFiles: helm takes nothing away from the files, for
// Prometheus' templates look like its own, and adds the runbook's URL to each alert.
func TestPrometheusRuleHasTheRulesOfTheFiles(t *testing.T) {
	for _, folder := range charts() {
		t.Run(filepath.Base(folder), func(t *testing.T) { checkPrometheusRule(t, folder) })
	}
}

func checkPrometheusRule(t *testing.T, folder string) {
	for values, runbook := range map[string]string{
		"prometheusRule: {enabled: true}":                                           "https://github.com/shoot-proxy/proxy-client/blob/v" + version(t) + "/docs/runbook.md",
		`prometheusRule: {enabled: true, runbookURL: "https://wiki.example/shoot"}`: "https://wiki.example/shoot",
	} {
		file := filepath.Join(t.TempDir(), "values.yaml")
		write(t, file, values)
		text, err := templateOf(t, folder, file)
		if err != nil {
			t.Fatal(err)
		}
		want := fileRules(t, folder)
		for _, group := range want {
			for _, rule := range group.Rules {
				if name, ok := rule["alert"].(string); ok {
					rule["annotations"].(map[string]any)["runbook_url"] = runbook + "#" + strings.ToLower(name)
				}
			}
		}
		var got struct{ Groups ruleGroups }
		spec, err := yaml.Marshal(find(t, parse(t, text), "PrometheusRule")["spec"])
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(spec, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Groups); diff != "" {
			t.Errorf("%s (-files +chart):\n%s", values, diff)
		}
	}
}

// version returns the chart's version.
func version(t *testing.T) string {
	t.Helper()
	match := regexp.MustCompile(`(?m)^version: (.*)$`).FindStringSubmatch(read(t, chart+"/Chart.yaml"))
	if match == nil {
		t.Fatal("the chart has no version")
	}
	return match[1]
}

// TestEveryAlertSaysWhatIsBrokenAndWhatToDo: each alert has what a person on call needs,
// and waits before it fires.
func TestEveryAlertSaysWhatIsBrokenAndWhatToDo(t *testing.T) {
	alerts := 0
	for _, group := range slices.Concat(fileRules(t, chart), fileRules(t, exitChart)) {
		for _, rule := range group.Rules {
			name, ok := rule["alert"].(string)
			if !ok {
				continue
			}
			alerts++
			annotations := object(rule).at("annotations").(map[string]any)
			summary, _ := annotations["summary"].(string)
			description, _ := annotations["description"].(string)
			switch {
			case !strings.HasPrefix(name, "ShootProxy"):
				t.Errorf("%s: an alert's name begins with ShootProxy", name)
			case !slices.Contains([]any{"critical", "warning"}, object(rule).at("labels", "severity")):
				t.Errorf("%s: its severity is %v", name, object(rule).at("labels", "severity"))
			case summary == "" || len(description) < 80:
				t.Errorf("%s: summary %q and description %q are too little to act on", name, summary, description)
			case rule["for"] == nil:
				t.Errorf("%s: without `for` it fires at the first sample", name)
			}
		}
	}
	if alerts < 20 {
		t.Errorf("only %d alerts were looked at", alerts)
	}
}

// dashboard is the part of a Grafana dashboard that the tests use.
type dashboard struct {
	UID    string
	Panels []struct {
		ID                       int
		Type, Title, Description string
		GridPos                  struct{ H, W, X, Y int }
	}
}

// TestDashboards: the ConfigMaps have the chart's dashboards. Grafana finds them by their
// label and tells them apart by their uid. Each plot says what it means.
func TestDashboards(t *testing.T) {
	text, err := template(t, chart+"/ci/everything-values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, o := range parse(t, text) {
		if o.at("metadata", "labels", "grafana_dashboard") != "true" {
			continue
		}
		data, _ := o["data"].(map[string]any)
		for name, content := range data {
			found[name], _ = content.(string)
		}
	}
	uids := map[string]bool{}
	for _, file := range files(t, chart+"/dashboards/*.json") {
		content, ok := found[filepath.Base(file)]
		if !ok || strings.TrimSpace(content) != strings.TrimSpace(read(t, file)) {
			t.Errorf("no ConfigMap with Grafana's label has the content of %s", file)
		}
		var board dashboard
		if err := json.Unmarshal([]byte(read(t, file)), &board); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if board.UID == "" || uids[board.UID] {
			t.Errorf("%s: uid %q is empty or another dashboard's", file, board.UID)
		}
		uids[board.UID] = true
		checkPanels(t, file, board)
	}
	if len(found) != len(uids) {
		t.Errorf("%d dashboards are in ConfigMaps, and %d are in the chart", len(found), len(uids))
	}
}

// checkPanels checks that panels have an id and a place of their own, and a description
// unless they are headings.
func checkPanels(t *testing.T, file string, board dashboard) {
	t.Helper()
	ids, places := map[int]bool{}, map[[2]int]string{}
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("%s: panel %q has the id of another one", file, p.Title)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Description) < 20 {
			t.Errorf("%s: panel %q does not say what it means", file, p.Title)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, taken := places[at]; taken || at[0] > 23 {
					t.Fatalf("%s: panel %q covers %q, or is beyond the edge", file, p.Title, other)
				}
				places[at] = p.Title
			}
		}
	}
}
