// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const prometheusPort = 9090

// Prometheus is Debian's Prometheus, unmodified, in the client's pod.
type Prometheus struct {
	*Process
	// URL is the address of its API, from inside the pod.
	URL string

	client *http.Client
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
	dir := filepath.Join(l.Dir, "prometheus")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chown(dir, AppUID, AppUID); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, prometheusConfig(interval, jobs), 0o644); err != nil {
		return nil, err
	}
	host := "127.0.0.1"
	if !l.opts.PodFamilies.Has(IPv4) {
		host = "::1"
	}
	listen := net.JoinHostPort(host, strconv.Itoa(prometheusPort))
	process, err := l.Pod.Start("prometheus", Command{
		Path: "prometheus", UID: AppUID,
		Args: []string{"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + listen},
	})
	if err != nil {
		return nil, err
	}
	p := &Prometheus{Process: process, URL: "http://" + listen, client: l.Pod.HTTP()}
	ctx, cancel := context.WithTimeout(ctx, startupDeadline)
	defer cancel()
	return p, l.Pod.waitHealthy(ctx, process, p.URL+"/-/ready")
}

// prometheusConfig returns JSON, which is also YAML.
func prometheusConfig(interval time.Duration, jobs map[string][]string) []byte {
	type object = map[string]any
	var scrapes []object
	for job, targets := range jobs {
		scrapes = append(scrapes, object{"job_name": job, "static_configs": []object{{"targets": targets}}})
	}
	text, err := json.MarshalIndent(object{
		"global":         object{"scrape_interval": interval.String(), "scrape_timeout": interval.String()},
		"scrape_configs": scrapes,
	}, "", "  ")
	if err != nil {
		panic(err) // strings and maps can always be encoded
	}
	return text
}

// Query evaluates a PromQL expression that gives a vector.
func (p *Prometheus) Query(ctx context.Context, expr string) ([]Sample, error) {
	text, err := Get(ctx, p.client, p.QueryURL(expr))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
				Value  [2]any            `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("Prometheus' answer to %q: %w", expr, err)
	}
	var samples []Sample
	for _, r := range answer.Data.Result {
		value, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			return nil, fmt.Errorf("Prometheus' answer to %q: %w", expr, err)
		}
		samples = append(samples, Sample{Labels: r.Metric, Value: value})
	}
	return samples, nil
}

// QueryURL returns the API's address for an instant query.
func (p *Prometheus) QueryURL(expr string) string {
	return p.URL + "/api/v1/query?query=" + url.QueryEscape(expr)
}
