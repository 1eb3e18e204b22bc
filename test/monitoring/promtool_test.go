// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// The charts. The rules of one are loaded in the seed's Prometheus, and the rules of the other
// in the shoot's.
const (
	seedChart  = "proxy-client"
	shootChart = "proxy-exit"
)

// promtool runs Debian's promtool, and returns what it says.
func promtool(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	labtest.Require(t, err)
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// ruleFiles returns the paths of a chart's rules, which are files of Prometheus.
func ruleFiles(t *testing.T, chart string) []string {
	t.Helper()
	files, err := filepath.Glob("../../charts/" + chart + "/rules/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("files of rules: %q, %v", files, err)
	}
	for i, file := range files {
		if files[i], err = filepath.Abs(file); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestRulesAreValid(t *testing.T) {
	t.Parallel()
	files := append(ruleFiles(t, seedChart), ruleFiles(t, shootChart)...)
	if said, err := promtool(t, "", append([]string{"check", "rules", "--lint-fatal"}, files...)...); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}

// The parts of promtool's file of unit tests that are used here.
type (
	unitTests struct {
		RuleFiles          []string   `json:"rule_files"`
		EvaluationInterval string     `json:"evaluation_interval"`
		Tests              []unitTest `json:"tests"`
	}
	unitTest struct {
		Name        string        `json:"name"`
		Interval    string        `json:"interval"`
		InputSeries []inputSeries `json:"input_series"`
		Queries     []queryTest   `json:"promql_expr_test"`
		Alerts      []alertTest   `json:"alert_rule_test,omitempty"`
	}
	inputSeries struct {
		Series string `json:"series"`
		Values string `json:"values"`
	}
	queryTest struct {
		Expr     string       `json:"expr"`
		EvalTime string       `json:"eval_time"`
		Samples  []wantSample `json:"exp_samples"`
	}
	wantSample struct {
		Labels string  `json:"labels"`
		Value  float64 `json:"value"`
	}
	alertTest struct {
		EvalTime string      `json:"eval_time"`
		Name     string      `json:"alertname"`
		Alerts   []wantAlert `json:"exp_alerts"`
	}
	wantAlert struct {
		Labels      map[string]string `json:"exp_labels"`
		Annotations map[string]string `json:"exp_annotations"`
	}
)

// runUnitTests lets promtool run tests of a chart's rules.
func runUnitTests(t *testing.T, chart string, tests ...unitTest) (string, error) {
	t.Helper()
	text, err := json.MarshalIndent(unitTests{RuleFiles: ruleFiles(t, chart), EvaluationInterval: "30s", Tests: tests}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tests.yaml") // JSON is YAML
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return promtool(t, "", "test", "rules", file)
}

// scenario is a course of metrics over 40 minutes, a sample every 30 s.
type scenario struct {
	name string
	// changed are the series that are not as in a healthy installation, in promtool's
	// notation, by their name with labels.
	changed map[string]string
	// fires are all alerts that fire at any time, each as "name severity", sorted.
	fires []string
}

// test returns promtool's test of s. The series are those of a healthy installation, and are
// changed as s says. The test's query finds every alert that has fired.
func (s scenario) test(t *testing.T, series map[string]string) unitTest {
	t.Helper()
	for name, values := range s.changed {
		series[name] = values
	}
	test := unitTest{Name: s.name, Interval: "30s"}
	for name, values := range series {
		test.InputSeries = append(test.InputSeries, inputSeries{name, values})
	}
	slices.SortFunc(test.InputSeries, func(a, b inputSeries) int { return strings.Compare(a.Series, b.Series) })
	query := queryTest{Expr: `count by (alertname, severity) (count by (alertname, severity) (max_over_time(ALERTS{alertstate="firing"}[1h])))`, EvalTime: "40m"}
	for _, alert := range s.fires {
		name, severity, _ := strings.Cut(alert, " ")
		query.Samples = append(query.Samples, wantSample{`{alertname="` + name + `", severity="` + severity + `"}`, 1})
	}
	test.Queries = []queryTest{query}
	return test
}

// TestAlertsFireForTheirCauseOnly: in each scenario exactly those alerts fire that it is
// about. Short disturbances fire none.
func TestAlertsFireForTheirCauseOnly(t *testing.T) {
	t.Parallel()
	for chart, course := range map[string]struct {
		healthy   func() map[string]string
		scenarios []scenario
	}{
		seedChart:  {healthy, append(sidecarScenarios(), webhookScenarios()...)},
		shootChart: {healthyExit, exitScenarios()},
	} {
		var tests []unitTest
		fired := map[string]bool{}
		for _, s := range course.scenarios {
			tests = append(tests, s.test(t, course.healthy()))
			for _, alert := range s.fires {
				fired[alert] = true
			}
		}
		if said, err := runUnitTests(t, chart, tests...); err != nil {
			t.Errorf("%v\n%s", err, said)
		}
		for _, alert := range alertsOf(t, chart) {
			if !fired[alert] {
				t.Errorf("no scenario makes %s fire", alert)
			}
		}
	}
}

// TestAnAlertThatDoesNotFireFailsTheTest is the control experiment of the test above.
func TestAnAlertThatDoesNotFireFailsTheTest(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]scenario{
		"an alert that does not fire":  {name: "healthy", fires: []string{"ShootProxyRedirectLost critical"}},
		"an alert that nobody expects": {name: "redirect", changed: map[string]string{sidecar("proxy_client_redirect_ok"): "0+0x79"}},
	} {
		if said, err := runUnitTests(t, seedChart, s.test(t, healthy())); err == nil || !strings.Contains(said, "ShootProxyRedirectLost") {
			t.Errorf("%s: promtool finds nothing wrong: %v\n%s", name, err, said)
		}
	}
}

// TestAlertsNameWhatIsMeant: annotations are rendered, also where they depend on labels and
// values.
func TestAlertsNameWhatIsMeant(t *testing.T) {
	t.Parallel()
	test := scenario{name: "certificates", changed: map[string]string{
		certificate("expiry", "client", ""):       "600+0x79",
		certificate("expiry", "server", "a:8090"): "300000+0x79",
	}, fires: []string{"ShootProxyCertificateExpires critical", "ShootProxyCertificateExpires warning"}}.test(t, healthy())
	labels := func(role, server, severity string) map[string]string {
		l := map[string]string{
			"severity": severity, "role": role, "container": "proxy-client", "endpoint": "proxy-health", "instance": "10.0.0.5:14021",
			"job": "shoot-proxy/proxy-client", "namespace": "monitoring", "pod": "prometheus-0",
		}
		if server != "" {
			l["server"] = server
		}
		return l
	}
	annotations := func(severity, summary string) map[string]string {
		a := map[string]string{"summary": summary}
		for _, rule := range rulesOf(t, seedChart) {
			if rule.Alert == "ShootProxyCertificateExpires" && rule.Labels["severity"] == severity {
				a["description"] = rule.Annotations["description"]
			}
		}
		return a
	}
	test.Alerts = []alertTest{{EvalTime: "30m", Name: "ShootProxyCertificateExpires", Alerts: []wantAlert{
		{labels("client", "", "critical"), annotations("critical", "The client certificate of pod monitoring/prometheus-0 has expired")},
		{labels("server", "a:8090", "warning"), annotations("warning", "The server certificate of pod monitoring/prometheus-0 for proxy-server a:8090 expires in 3d 10h 50m 0s")},
	}}}
	if said, err := runUnitTests(t, seedChart, test); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}
