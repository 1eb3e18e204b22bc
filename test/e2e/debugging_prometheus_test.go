// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestPrometheusSaysWhy: Prometheus' last error of a target is one of those that
// docs/debugging.md has in its table.
func TestPrometheusSaysWhy(t *testing.T) {
	t.Parallel()
	documented := documentedErrors(t)
	r := newRig(t, lab.Options{})
	targets := map[string]string{
		shootPod(target.ClosedPort).String():                                  "connection reset by peer",
		netip.AddrPortFrom(lab.BlackHole(lab.IPv4), target.HTTPPort).String(): "context deadline exceeded",
		netip.AddrPortFrom(lab.Outside(lab.IPv4), 80).String():                "network is unreachable",
	}
	var addresses []string
	for address := range targets {
		addresses = append(addresses, address)
	}
	p, err := r.StartPrometheus(labtest.Context(t, time.Minute), time.Second, map[string][]string{"shoot": addresses})
	if err != nil {
		t.Fatal(err)
	}
	r.wantLastErrors(t, p, documented, targets)
	r.sidecar.Kill()
	r.wantLastErrors(t, p, documented, map[string]string{shootPod(target.ClosedPort).String(): "connection refused"})
}

// documentedErrors returns the errors in the table of docs/debugging.md.
func documentedErrors(t *testing.T) (all []string) {
	t.Helper()
	for _, row := range regexp.MustCompile(`(?m)^\| (`+"`.*`"+`) \|`).FindAllStringSubmatch(string(read(t, debugging(t).Name)), -1) {
		all = append(all, strings.Split(strings.Trim(row[1], "`"), "`, `")...)
	}
	if len(all) < 4 {
		t.Fatalf("docs/debugging.md has the errors %q, and there are more", all)
	}
	return all
}

// wantLastErrors waits until Prometheus has these last errors, by target.
func (r *rig) wantLastErrors(t *testing.T, p *lab.Prometheus, documented []string, want map[string]string) {
	t.Helper()
	eventually(t, "Prometheus to say why its targets are down", func(ctx context.Context) error {
		text, err := lab.Get(ctx, r.Pod.HTTP(), p.URL+"/api/v1/targets")
		if err != nil {
			return err
		}
		var answer struct {
			Data struct {
				ActiveTargets []struct {
					Labels    map[string]string `json:"labels"`
					LastError string            `json:"lastError"`
				} `json:"activeTargets"`
			} `json:"data"`
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			return err
		}
		var errs []error
		for _, one := range answer.Data.ActiveTargets {
			said := one.LastError
			wanted, asked := want[one.Labels["instance"]]
			switch {
			case !asked:
			case !strings.Contains(said, wanted):
				errs = append(errs, fmt.Errorf("%s: %q, want %q", one.Labels["instance"], said, wanted))
			case !containsAny(said, documented):
				errs = append(errs, fmt.Errorf("%s: %q, which docs/debugging.md does not have: %q", one.Labels["instance"], said, documented))
			}
		}
		return errors.Join(errs...)
	})
}

func containsAny(text string, words []string) bool {
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}
