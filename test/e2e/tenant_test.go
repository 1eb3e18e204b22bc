// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// tenant is one of several shoots that share a balancer. All of them have the same
// addresses. Its targets answer with its id.
type tenant struct {
	*rig
	id     string
	strays int // sidecars that were started only to fail
}

// tenantName returns a tenant's DNS name.
func tenantName(id string) string { return id + ".shoots.lab" }

func newSharedBalancer(t *testing.T) *lab.SharedBalancer {
	t.Helper()
	labtest.RequireRoot(t)
	b, err := lab.NewSharedBalancer(labtest.Context(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the shared balancer said:\n%s", b.Logs())
		}
		if err := b.Close(); err != nil {
			t.Errorf("the shared balancer left something behind: %v", err)
		}
	})
	return b
}

// newTenant builds a shoot behind a balancer, without the product.
func newTenant(t *testing.T, b *lab.SharedBalancer, id string, opts lab.Options) *tenant {
	t.Helper()
	opts.Shared, opts.ShootName = b, tenantName(id)
	s := &tenant{rig: newBareRig(t, opts), id: id}
	s.targets.SetName(id)
	return s
}

// startShared starts the sidecar with the balancer's address and the shoot's name.
func (s *tenant) startShared(t *testing.T, b *lab.SharedBalancer) {
	t.Helper()
	s.start(t, "--proxy-server="+b.Frontend(), "--server-name="+tenantName(s.id))
}

// wantAnswersFrom asks targets in each range of the shoot, and expects that all of them
// are in the named one.
func (s *tenant) wantAnswersFrom(t *testing.T, want string) {
	t.Helper()
	for _, f := range lab.DualStack.Each() {
		for _, addr := range kinds(f) {
			if got, err := s.whoAnswers(labtest.Context(t, hang), addr); err != nil || got != want {
				t.Errorf("%s from the pod of %s is in shoot %q (%v), want %q", addr, s.id, got, err, want)
			}
		}
	}
}

// whoAnswers returns the shoot in which an app of the pod finds an address.
func (s *tenant) whoAnswers(ctx context.Context, addr netip.Addr) (string, error) {
	conn, err := s.dial(ctx, addr, target.NamedPort)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return nameOf(conn)
}

// nameOf asks a named target for its shoot.
func nameOf(conn net.Conn) (string, error) {
	if _, err := io.WriteString(conn, "who\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	name, ok := strings.CutSuffix(string(answer), " who\n")
	if err == nil && !ok {
		err = fmt.Errorf("the target says %q", answer)
	}
	return name, err
}

// otherTraffic is traffic of all kinds through one shoot while something happens to others.
type otherTraffic struct {
	*tenant
	live, quiet *liveSet
	fresh       *freshLoad
	before      lab.Metrics
	began       time.Time
}

func (s *tenant) startTraffic(t *testing.T) *otherTraffic {
	t.Helper()
	s.idle(t) // what ends later would be counted
	o := &otherTraffic{tenant: s, live: s.startLive(t, 20), quiet: s.startQuiet(t, 20), before: s.metrics(t), began: time.Now()}
	o.fresh = s.startFresh(t)
	o.fresh.await(t, 25)
	return o
}

// wantUndisturbed ends the traffic and expects that no connection was broken and no new one
// failed. None had to be dialled twice.
func (o *otherTraffic) wantUndisturbed(t *testing.T) {
	t.Helper()
	o.fresh.await(t, 25)
	attempts := o.fresh.end(t)
	wantNoneFailed(t, attempts)
	o.live.wantEnded(t, 0, o.began, nil)
	o.quiet.wantEnded(t, 0, o.began, nil)
	after := o.metrics(t)
	for _, metric := range []string{"proxy_client_dial_failures_total", "proxy_client_failovers_total"} {
		if grown := increases(metric, o.before, after); len(grown) != 0 {
			t.Errorf("%s of %s has grown by %v", metric, o.id, grown)
		}
	}
	eventually(t, "each new connection to be counted, and no other", func(ctx context.Context) error {
		after, err := o.SidecarMetrics(ctx)
		if err != nil {
			return err
		}
		want := map[string]float64{`reason="target_closed"`: float64(len(attempts))}
		if diff := cmp.Diff(want, increases("proxy_client_close_total", o.before, after)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	o.live.finish()
	o.quiet.finish()
	t.Logf("%s: 40 open connections and %d new ones noticed nothing", o.id, len(attempts))
}
