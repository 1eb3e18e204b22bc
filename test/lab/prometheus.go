// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const prometheusPort = 9090

// Prometheus is Debian's Prometheus, unmodified, in a pod.
type Prometheus struct {
	*Process
	// URL is the address of its API, from inside the pod.
	URL string

	client *http.Client
}

// PrometheusSettings say what a Prometheus scrapes, and in which pod it runs.
type PrometheusSettings struct {
	Pod *Namespace
	// Name is the name of its volume. A Prometheus that is started again with the same
	// name has the samples of the earlier one. Two must not run at the same time.
	Name     string
	Interval time.Duration // of scrapes; their timeout too
	// Jobs are the targets (host:port) by the name of their job. Their path is /metrics.
	Jobs map[string][]string
	// TargetLabels are further labels of each target, by job.
	TargetLabels map[string]map[string]string
	// Rules are files of rules, which the uid AppUID must be able to read. They are
	// evaluated at each Interval.
	Rules []string
	// Labels are external labels. Two replicas with different labels scrape at different
	// times.
	Labels map[string]string
}

// Sample is one series of an instant query's answer.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// StartPrometheus starts Prometheus as an ordinary user's process in the pod and waits
// until it is ready. It scrapes /metrics of the given addresses (host:port), grouped by
// job.
func (l *Lab) StartPrometheus(ctx context.Context, interval time.Duration, jobs map[string][]string) (*Prometheus, error) {
	return l.StartPrometheusIn(ctx, PrometheusSettings{Pod: l.Pod, Name: "prometheus", Interval: interval, Jobs: jobs})
}

// StartPrometheusIn does the same in any pod.
func (l *Lab) StartPrometheusIn(ctx context.Context, s PrometheusSettings) (*Prometheus, error) {
	dir := filepath.Join(l.Dir, s.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chown(dir, AppUID, AppUID); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, s.config(), 0o644); err != nil {
		return nil, err
	}
	host := "127.0.0.1"
	if !l.opts.PodFamilies.Has(IPv4) {
		host = "::1"
	}
	listen := net.JoinHostPort(host, strconv.Itoa(prometheusPort))
	process, err := s.Pod.Start(s.Name, Command{
		Path: "prometheus", UID: AppUID,
		Args: []string{"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + listen},
	})
	if err != nil {
		return nil, err
	}
	p := &Prometheus{Process: process, URL: "http://" + listen, client: s.Pod.HTTP()}
	ctx, cancel := context.WithTimeout(ctx, startupDeadline)
	defer cancel()
	return p, s.Pod.waitHealthy(ctx, process, p.URL+"/-/ready")
}

// config returns JSON, which is also YAML.
func (s PrometheusSettings) config() []byte {
	type object = map[string]any
	var scrapes []object
	for job, targets := range s.Jobs {
		scrapes = append(scrapes, object{"job_name": job, "static_configs": []object{{"targets": targets, "labels": s.TargetLabels[job]}}})
	}
	interval := s.Interval.String()
	global := object{"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
	if s.Labels != nil {
		global["external_labels"] = s.Labels
	}
	text, err := json.MarshalIndent(object{"global": global, "scrape_configs": scrapes, "rule_files": s.Rules}, "", "  ")
	if err != nil {
		panic(err) // strings and maps can always be encoded
	}
	return text
}

// Query evaluates a PromQL expression that gives a vector.
func (p *Prometheus) Query(ctx context.Context, expr string) ([]Sample, error) {
	var data struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
			Value  Point             `json:"value"`
		} `json:"result"`
	}
	if err := p.ask(ctx, p.QueryURL(expr), &data); err != nil {
		return nil, err
	}
	var samples []Sample
	for _, r := range data.Result {
		samples = append(samples, Sample{Labels: r.Metric, Value: r.Value.Value})
	}
	return samples, nil
}

// Series is one series of a range vector: its samples as they were scraped, in order.
type Series struct {
	Labels map[string]string
	Times  []time.Time // when Prometheus scraped, of each sample
	Values []float64
}

// Samples evaluates a PromQL expression that gives a range vector, such as up[5m].
func (p *Prometheus) Samples(ctx context.Context, expr string) ([]Series, error) {
	var data struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
			Values []Point           `json:"values"`
		} `json:"result"`
	}
	if err := p.ask(ctx, p.QueryURL(expr), &data); err != nil {
		return nil, err
	}
	var all []Series
	for _, r := range data.Result {
		one := Series{Labels: r.Metric}
		for _, v := range r.Values {
			one.Times, one.Values = append(one.Times, v.Time), append(one.Values, v.Value)
		}
		all = append(all, one)
	}
	return all, nil
}

// Health returns the health of each target, "up", "down" or "unknown", by its address
// (host:port). It is that of the running process: its earlier samples do not count.
func (p *Prometheus) Health(ctx context.Context) (map[string]string, error) {
	var data struct {
		ActiveTargets []struct {
			Labels map[string]string `json:"labels"`
			Health string            `json:"health"`
		} `json:"activeTargets"`
	}
	if err := p.ask(ctx, p.URL+"/api/v1/targets?state=active", &data); err != nil {
		return nil, err
	}
	health := map[string]string{}
	for _, t := range data.ActiveTargets {
		health[t.Labels["instance"]] = t.Health
	}
	return health, nil
}

// ask requests a URL of the API and decodes the answer's data.
func (p *Prometheus) ask(ctx context.Context, address string, data any) error {
	text, err := Get(ctx, p.client, address)
	if err != nil {
		return err
	}
	answer := struct {
		Data any `json:"data"`
	}{data}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return fmt.Errorf("Prometheus' answer to %s: %w", address, err)
	}
	return nil
}

// Point is a sample in an answer of Prometheus: [seconds since 1970, "value"].
type Point struct {
	Time  time.Time
	Value float64
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *Point) UnmarshalJSON(text []byte) error {
	var pair [2]any
	if err := json.Unmarshal(text, &pair); err != nil {
		return err
	}
	seconds, isNumber := pair[0].(float64)
	number, isText := pair[1].(string)
	if !isNumber || !isText {
		return fmt.Errorf("%s is no sample", text)
	}
	value, err := strconv.ParseFloat(number, 64)
	*p = Point{Time: time.UnixMilli(int64(math.Round(1000 * seconds))), Value: value}
	return err
}

// QueryURL returns the API's address for an instant query.
func (p *Prometheus) QueryURL(expr string) string {
	return p.URL + "/api/v1/query?query=" + url.QueryEscape(expr)
}
