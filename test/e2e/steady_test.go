// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

const (
	scrapeTargets  = 50
	scrapeInterval = 2 * time.Second
)

// scraping is a Prometheus that has scraped since started.
type scraping struct {
	*lab.Prometheus
	minimum time.Duration
}

func (r *rig) startScraping(t *testing.T, minimum time.Duration) *scraping {
	t.Helper()
	var targets []string
	for i := range scrapeTargets {
		f := lab.DualStack.Each()[i%2]
		targets = append(targets, net.JoinHostPort(lab.ShootPod(f, i+1).String(), fmt.Sprint(target.HTTPPort)))
	}
	p, err := r.StartPrometheus(labtest.Context(t, hang), scrapeInterval, map[string][]string{"shoot": targets})
	if err != nil {
		t.Fatal(err)
	}
	s := &scraping{Prometheus: p, minimum: minimum}
	if testing.Short() {
		s.minimum = 4 * time.Second
	}
	return s
}

// test waits until every target has been scraped the minimum number of times. It expects
// that each scrape since the first has succeeded, and ends Prometheus.
func (s *scraping) test(t *testing.T) {
	defer s.Stop(5 * time.Second)
	want := float64(s.minimum / scrapeInterval)
	ctx := labtest.Context(t, s.minimum+hang)
	err := lab.Poll(ctx, fmt.Sprintf("%v scrapes of each target", want), func(ctx context.Context) error {
		counts, err := s.Query(ctx, "count_over_time(up[10m])")
		if err != nil {
			return err
		}
		if len(counts) != scrapeTargets {
			return fmt.Errorf("%d targets have been scraped, want %d", len(counts), scrapeTargets)
		}
		for _, c := range counts {
			if c.Value < want {
				return fmt.Errorf("%s has been scraped %v times", c.Labels["instance"], c.Value)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	failed, err := s.Query(ctx, "count_over_time(up[10m]) - sum_over_time(up[10m]) > 0")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range failed {
		t.Errorf("%v scrapes of %s failed", f.Value, f.Labels["instance"])
	}
}

// load is what must return to its first value once all connections are closed.
type load struct {
	established, active, atTargets, goroutines float64
}

func (r *rig) load(ctx context.Context) (load, error) {
	server, err := r.ServerMetrics(ctx)
	if err != nil {
		return load{}, err
	}
	sidecar, err := r.SidecarMetrics(ctx)
	if err != nil {
		return load{}, err
	}
	for _, name := range []string{"go_goroutines", "proxy_client_connections_active"} {
		if _, ok := sidecar[name]; !ok {
			return load{}, fmt.Errorf("the sidecar has no metric %s", name)
		}
	}
	return load{
		established: server.Sum(lab.ServerEstablished),
		active:      sidecar["proxy_client_connections_active"],
		atTargets:   float64(r.targets.Open()),
		goroutines:  sidecar["go_goroutines"],
	}, nil
}

// warmUp makes a first connection to a target. The sidecar then has what it makes once
// for all connections.
func (r *rig) warmUp(t *testing.T) {
	t.Helper()
	if _, err := r.app(labtest.Context(t, hang), nil, nil, "curl", "-sS", lab.URL(lab.ShootPod(lab.IPv4, 1), target.HTTPPort, "/")); err != nil {
		t.Fatal(err)
	}
}

// idle waits until no connection is left in the sidecar, in the upstream server, or at a
// target, where the agent's connections end. The tunnel of an app that closed may end two
// seconds later.
func (r *rig) idle(t testing.TB) {
	t.Helper()
	err := lab.Poll(labtest.Context(t, hang), "all connections to end", func(ctx context.Context) error {
		now, err := r.load(ctx)
		if err == nil && (now.established != 0 || now.active != 0 || now.atTargets != 0) {
			err = fmt.Errorf("%+v", now)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// quiet returns the load of a sidecar without connections. Reading its metrics is itself
// a connection that comes and goes. quiet therefore takes the highest of some readings.
func (r *rig) quiet(t *testing.T) load {
	t.Helper()
	r.idle(t)
	var highest load
	for range 20 {
		now, err := r.load(labtest.Context(t, hang))
		if err != nil {
			t.Fatal(err)
		}
		highest.goroutines = max(highest.goroutines, now.goroutines)
	}
	return highest
}

func (r *rig) testBackWhereItStarted(t *testing.T, before load) {
	eventually(t, "connections and goroutines to end", func(ctx context.Context) error {
		now, err := r.load(ctx)
		if err != nil {
			return err
		}
		if now.established > 0 || now.active > 0 || now.atTargets > 0 || now.goroutines > before.goroutines {
			return fmt.Errorf("%+v, before all connections %+v", now, before)
		}
		return nil
	})
	t.Logf("before %+v", before)
}
