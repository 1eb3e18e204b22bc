// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// labelsOf are the names of labels that the series of a metric have, by the metric's name.
type labelsOf map[string]map[string]bool

// exposed reads the text format of /metrics.
func exposed(text string) labelsOf {
	found := labelsOf{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, labels, _ := strings.Cut(strings.TrimSpace(line), "{")
		name, _, _ = strings.Cut(name, " ")
		if found[name] == nil {
			found[name] = map[string]bool{}
		}
		for _, match := range matcher.FindAllStringSubmatch(quoted.ReplaceAllString(labels, `""`), -1) {
			found[name][match[1]] = true
		}
	}
	return found
}

var (
	// quoted matches a string.
	quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	// matcher matches the name of a label that is compared.
	matcher = regexp.MustCompile(`([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)`)
	// selector matches a metric with its matchers.
	selector = regexp.MustCompile(`([a-zA-Z_:][\w:]*)?\s*\{([^}]*)\}`)
	// grouping matches the labels behind a keyword.
	grouping = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	// span matches a duration in brackets.
	span = regexp.MustCompile(`\[[^\]]*\]`)
	// word matches a name, and what follows if that makes it a function.
	word = regexp.MustCompile(`[a-zA-Z_:][\w:]*(\s*\()?`)
	// number matches numbers, also with an exponent.
	number = regexp.MustCompile(`\b\d[\w.]*`)
)

// keywords are the words of PromQL that stand without a parenthesis.
var keywords = []string{"and", "or", "unless", "bool", "offset"}

// use is what a query names.
type use struct {
	metrics []string            // without matchers too
	labels  map[string][]string // compared labels by metric
	groups  []string            // labels behind by, on and so on
}

// uses finds what a query names. The query is valid: Prometheus has parsed it.
func uses(query string) use {
	u := use{labels: map[string][]string{}}
	query = quoted.ReplaceAllString(query, `""`)
	query = span.ReplaceAllString(query, "")
	for _, match := range grouping.FindAllStringSubmatch(query, -1) {
		for label := range strings.SplitSeq(match[2], ",") {
			if label = strings.TrimSpace(label); label != "" {
				u.groups = append(u.groups, label)
			}
		}
	}
	query = grouping.ReplaceAllString(query, " ")
	for _, match := range selector.FindAllStringSubmatch(query, -1) {
		for _, compared := range matcher.FindAllStringSubmatch(match[2], -1) {
			u.labels[match[1]] = append(u.labels[match[1]], compared[1])
		}
	}
	query = selector.ReplaceAllString(query, " $1 ")
	query = number.ReplaceAllString(query, " ")
	for _, name := range word.FindAllString(query, -1) {
		// What a parenthesis follows is a function or an operator.
		if !strings.HasSuffix(name, "(") && !slices.Contains(keywords, name) && !slices.Contains(aggregations, name) {
			u.metrics = append(u.metrics, name)
		}
	}
	return u
}

// aggregations stand before by or without, and not always before a parenthesis.
var aggregations = []string{"sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile", "group"}

// targetLabels are those that Prometheus and Prometheus Operator add to each series of a
// scraped pod, and le of the histograms' quantiles.
var targetLabels = []string{"namespace", "pod", "container", "endpoint", "job", "instance", "service", "le"}

// check returns what a query names that does not exist.
func (u use) check(known labelsOf) error {
	labels := map[string]bool{}
	for _, label := range targetLabels {
		labels[label] = true
	}
	for _, name := range u.metrics {
		if known[name] == nil {
			return fmt.Errorf("there is no metric %s", name)
		}
		maps.Copy(labels, known[name])
	}
	for metric, compared := range u.labels {
		for _, label := range compared {
			if !known[metric][label] && !slices.Contains(targetLabels, label) {
				return fmt.Errorf("metric %s has no label %s", metric, label)
			}
		}
	}
	for _, label := range u.groups {
		if !labels[label] {
			return fmt.Errorf("no metric of the query has the label %s", label)
		}
	}
	return nil
}

// TestUsesFindsWhatAQueryNames tests the test's own reading of queries.
func TestUsesFindsWhatAQueryNames(t *testing.T) {
	t.Parallel()
	known := labelsOf{"a_total": {"reason": true}, "b": {}, "shoot:a:rate5m": {}}
	for query, fault := range map[string]string{
		`sum by (reason) (rate(a_total{pod=~"x{y}",reason!="by (z)"}[5m])) > 0.2 or vector(0)`: "",
		`a_total / ignoring (reason) group_left () (shoot:a:rate5m > 1e3)`:                     "",
		`b unless on (namespace) a_total == 0`:                                                 "",
		`topk(10, b{pod="x"}) and b`:                                                           "",
		`sum(rate(other_total[5m]))`:                                                           "no metric other_total",
		`b + c`:                                                                                "no metric c",
		`a_total{server="x"}`:                                                                  "a_total has no label server",
		`sum by (server) (a_total)`:                                                            "the label server",
		`b{reason="x"} / a_total`:                                                              "b has no label reason",
	} {
		err := uses(query).check(known)
		if fault == "" && err != nil || fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
			t.Errorf("%s: %v, want %q", query, err, fault)
		}
	}
}
