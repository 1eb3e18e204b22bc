// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// A minute of the rules lasts two seconds in the lab, and the 30 s between two scrapes one.
// A busy machine may answer a scrape late, and an alert waits for that as it does outside.
const (
	minute   = 2 * time.Second
	interval = minute / 2
)

// renderedRules writes the rules of the chart's PrometheusRule, as helm renders it, in the
// lab's time. It returns the file.
func (r *rig) renderedRules(t *testing.T) string {
	t.Helper()
	_, testBin, err := lab.FindBinaries()
	if err != nil {
		t.Fatal(err)
	}
	helm := filepath.Join(testBin, "tools-kube", "helm")
	_, err = os.Stat(helm)
	labtest.Require(t, err) // make helm
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), helm, "template", "proxy-client", "../../charts/proxy-client", "--namespace", "shoot-proxy",
		"--kube-version", "1.36.0", "--set", "prometheusRule.enabled=true", "--show-only", "templates/rules.yaml")
	cmd.Env = []string{"HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home}
	rendered, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, rendered)
	}
	var object struct{ Spec any }
	if err := yaml.Unmarshal(rendered, &object); err != nil {
		t.Fatal(err)
	}
	rules, err := yaml.Marshal(object.Spec)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.Dir, "rules.yaml")
	if err := os.WriteFile(file, []byte(speedUp(t, string(rules))), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// inMinutes matches a duration in minutes: of a range, or of `for`.
var inMinutes = regexp.MustCompile(`(\[|for: )(\d+)m\b`)

// speedUp shortens each minute of the rules. What is compared with time() stays.
func speedUp(t *testing.T, rules string) string {
	t.Helper()
	return inMinutes.ReplaceAllStringFunc(rules, func(found string) string {
		match := inMinutes.FindStringSubmatch(found)
		minutes, err := strconv.Atoi(match[2])
		if err != nil {
			t.Fatal(err)
		}
		return match[1] + (time.Duration(minutes) * minute).Round(time.Second).String()
	})
}

// alert starts a Prometheus in the pod. It scrapes the two programs, and targets in the
// shoot through the tunnel. While all is well no alert fires. With a fault the right one
// does and no other, until the fault is gone.
func (r *rig) alert(t *testing.T, known labelsOf) {
	t.Helper()
	prometheus, err := r.StartPrometheusIn(labtest.Context(t, limit), lab.PrometheusSettings{
		Pod: r.Pod, Name: "prometheus", Interval: interval, Rules: []string{r.renderedRules(t)},
		Jobs: map[string][]string{
			"shoot-proxy/proxy-client": {strings.TrimSuffix(strings.TrimPrefix(r.SidecarURL(""), "http://"), "/")},
			"proxy-client-webhook":     {webhookMetrics},
			"shoot":                    {fmt.Sprint(lab.ShootPod(lab.IPv4, 1), ":", target.HTTPPort), fmt.Sprint(lab.ShootPod(lab.IPv4, 2), ":", target.HTTPPort)},
		},
		TargetLabels: map[string]map[string]string{
			"shoot-proxy/proxy-client": {"namespace": "monitoring", "pod": "prometheus-0", "container": "proxy-client", "endpoint": "proxy-health"},
			"proxy-client-webhook":     {"namespace": "shoot-proxy", "pod": "webhook-0", "container": "webhook", "endpoint": "health", "service": "proxy-client-webhook"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := watcher{prometheus, r}
	p.awaitWell(t)
	p.checkDashboards(t, known)

	var wanted []string
	for _, fault := range []struct {
		alert         string
		begins, cures func() error
	}{
		{"ShootProxyNoAgent critical", func() error { r.Agent.Kill(); return nil }, r.StartAgent},
		{"ShootProxyServerDown critical", func() error { r.Servers[0].Kill(); return nil }, func() error { return r.StartServer(labtest.Context(t, limit)) }},
	} {
		if err := fault.begins(); err != nil {
			t.Fatal(err)
		}
		wanted = append(wanted, fault.alert)
		p.awaitFiring(t, fault.alert, wanted)
		p.checkTexts(t)
		if err := fault.cures(); err != nil {
			t.Fatal(err)
		}
		p.awaitSilence(t)
	}
}

// watcher asks a Prometheus.
type watcher struct {
	*lab.Prometheus
	rig *rig
}

// alerts returns the alerts in a query's answer, each as "name severity", sorted.
func (w watcher) alerts(ctx context.Context, query string) ([]string, error) {
	samples, err := w.Query(ctx, query)
	var names []string
	for _, s := range samples {
		names = append(names, s.Labels["alertname"]+" "+s.Labels["severity"])
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// awaitWell waits until targets in the shoot were scraped for longer than most alerts wait,
// and fails if one has fired.
func (w watcher) awaitWell(t *testing.T) {
	t.Helper()
	const scrapes = 8 * int(minute/interval)
	labtest.Eventually(t, limit, "scrapes of the shoot", func(ctx context.Context) error {
		samples, err := w.Query(ctx, fmt.Sprintf(`min(sum_over_time(up{job="shoot"}[1h])) >= %d`, scrapes))
		if err == nil && len(samples) == 0 {
			err = fmt.Errorf("there are fewer than %d", scrapes)
		}
		return err
	})
	fired, err := w.alerts(labtest.Context(t, limit), `max_over_time(ALERTS{alertstate="firing"}[1h])`)
	if err != nil || len(fired) > 0 {
		t.Fatalf("while all is well these alerts fire: %q, %v", fired, err)
	}
}

// awaitFiring waits until an alert fires, and checks which have fired since the start.
func (w watcher) awaitFiring(t *testing.T, alert string, wanted []string) {
	t.Helper()
	labtest.Eventually(t, limit, alert, func(ctx context.Context) error {
		firing, err := w.alerts(ctx, `ALERTS{alertstate="firing"}`)
		if err == nil && !slices.Contains(firing, alert) {
			err = fmt.Errorf("firing are %q", firing)
		}
		return err
	})
	fired, err := w.alerts(labtest.Context(t, limit), `max_over_time(ALERTS{alertstate="firing"}[1h])`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, fired); diff != "" {
		t.Errorf("alerts that have fired (-want +got):\n%s", diff)
	}
}

// awaitSilence waits until no alert fires.
func (w watcher) awaitSilence(t *testing.T) {
	t.Helper()
	labtest.Eventually(t, limit, "the end of the alerts after the cure", func(ctx context.Context) error {
		firing, err := w.alerts(ctx, `ALERTS{alertstate="firing"}`)
		if err == nil && len(firing) > 0 {
			err = fmt.Errorf("firing are %q", firing)
		}
		return err
	})
}

// checkDashboards: Prometheus can evaluate each query of the dashboards, and each names
// metrics and labels that the programs have.
func (w watcher) checkDashboards(t *testing.T, known labelsOf) {
	t.Helper()
	for place, query := range dashboardQueries(t) {
		if _, err := w.Query(labtest.Context(t, limit), query); err != nil {
			t.Errorf("%s: %s: %v", place, query, err)
		}
		if err := uses(query).check(known); err != nil {
			t.Errorf("%s: %v", place, err)
		}
	}
}

// checkTexts: Prometheus has evaluated all rules without an error. The alert that fires
// names the pod, and links to the runbook.
func (w watcher) checkTexts(t *testing.T) {
	t.Helper()
	text, err := lab.Get(labtest.Context(t, limit), w.rig.Pod.HTTP(), w.URL+"/api/v1/rules")
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct {
					Name, Health, LastError string
					Alerts                  []struct {
						State       string
						Annotations map[string]string
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatal(err)
	}
	rules := 0
	for _, group := range answer.Data.Groups {
		for _, rule := range group.Rules {
			rules++
			if rule.Health != "ok" {
				t.Errorf("rule %s: %s: %s", rule.Name, rule.Health, rule.LastError)
			}
			for _, alert := range rule.Alerts {
				if alert.State == "firing" {
					checkAnnotations(t, rule.Name, alert.Annotations)
				}
			}
		}
	}
	if all := len(rulesOf(t, seedChart)); rules != all {
		t.Errorf("Prometheus has %d rules, and the chart %d", rules, all)
	}
}

func checkAnnotations(t *testing.T, alert string, texts map[string]string) {
	t.Helper()
	if !strings.Contains(texts["summary"], "monitoring/prometheus-0") {
		t.Errorf("the summary of %s does not name the pod: %s", alert, texts["summary"])
	}
	runbook, err := url.Parse(texts["runbook_url"])
	if err != nil || runbook.Host == "" || runbook.Fragment != strings.ToLower(alert) {
		t.Errorf("%s links to %q, %v", alert, texts["runbook_url"], err)
	}
	for name, text := range texts {
		if strings.Contains(text, "<error") || strings.Contains(text, "<no value>") {
			t.Errorf("%s of %s: %s", name, alert, text)
		}
	}
}
