// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// moveInterval is the time between two scrapes, and the timeout of each. It is long, so that
// a pause of a busy machine is no lost scrape.
const moveInterval = 4 * time.Second

// replica is one of two that scrape the same targets: a pod with its Prometheus. The
// volume with the samples stays if the pod is replaced.
type replica struct {
	name       string
	pod        *lab.Namespace
	member     *lab.Member  // of the VPN
	sidecar    *lab.Process // nil if the pod has none
	prometheus *lab.Prometheus
	ends       []time.Time // when its Prometheus was told to end
}

// interrupted reports whether a scrape that began at a time may have been on its way when
// its Prometheus ended. Prometheus records such a scrape as failed.
func (r *replica) interrupted(began time.Time) bool {
	return slices.ContainsFunc(r.ends, func(end time.Time) bool {
		return !began.After(end) && began.After(end.Add(-moveInterval)) // which is also the timeout
	})
}

// move is a shoot with a VPN and a proxy-server, and two replicas. Each pod has a VPN's
// device, as if its template had a sidecar of the VPN.
type move struct {
	*rig
	vpn       *lab.VPN
	addresses []string // of the targets
	replicas  []*replica
	inject    bool // whether the webhook injects a pod that is made now
}

// newMove builds the lab, and starts both replicas with the VPN. Its control is that a pod
// without VPN and product does not reach the shoot.
func newMove(t *testing.T) *move {
	t.Helper()
	m := &move{rig: newBareRig(t, lab.Options{})}
	var err error
	if m.vpn, err = m.StartVPN(); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		f := lab.DualStack.Each()[i%2]
		m.addresses = append(m.addresses, net.JoinHostPort(lab.ShootPod(f, i+1).String(), fmt.Sprint(target.HTTPPort)))
	}
	for _, name := range []string{"prometheus-shoot-0", "prometheus-shoot-1"} {
		r := &replica{name: name}
		m.replicas = append(m.replicas, r)
		m.begin(t, r)
		m.wantAllUp(t, r)
	}
	return m
}

// replace ends a replica's pod and makes another one, as the controller of a StatefulSet
// does.
func (m *move) replace(t *testing.T, r *replica) {
	t.Helper()
	m.end(t, r)
	m.begin(t, r)
}

// replaceAndCheck also waits until the new pod has scraped each target.
func (m *move) replaceAndCheck(t *testing.T, r *replica) {
	t.Helper()
	m.replace(t, r)
	m.wantAllUp(t, r)
}

// end ends a replica's pod, in the order of a kubelet: the app first, then its sidecar.
func (m *move) end(t *testing.T, r *replica) {
	t.Helper()
	r.ends = append(r.ends, time.Now())
	r.prometheus.Stop(hang)
	if r.sidecar != nil {
		r.sidecar.Stop(hang)
	}
	if err := r.member.Leave(); err != nil {
		t.Fatal(err)
	}
	r.member, r.sidecar, r.prometheus = nil, nil, nil
}

// begin makes a replica's pod, in the order of a kubelet: our two containers if the webhook
// has added them, the VPN's, and Prometheus. It waits until our sidecar is alive, but not for
// the proxy-server or a target.
func (m *move) begin(t *testing.T, r *replica) {
	t.Helper()
	ctx := labtest.Context(t, hang)
	var err error
	if r.pod, err = m.AddPod(); err != nil {
		t.Fatal(err)
	}
	if m.inject {
		if _, err := r.pod.Run(ctx, m.InitRedirectCommand("apply")); err != nil {
			t.Fatal(err)
		}
		if r.sidecar, err = m.StartSidecarIn(r.pod, m.ProxyClientCommand()); err != nil {
			t.Fatal(err)
		}
		if err := m.WaitSidecar(ctx, r.pod, r.sidecar, "/livez"); err != nil { // the startup probe
			t.Fatal(err)
		}
	}
	if r.member, err = m.vpn.Join(r.pod); err != nil {
		t.Fatal(err)
	}
	r.prometheus, err = m.StartPrometheusIn(ctx, lab.PrometheusSettings{
		Pod: r.pod, Name: r.name, Interval: moveInterval,
		Jobs: map[string][]string{"shoot": m.addresses}, Labels: map[string]string{"replica": r.name},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wantAllUp waits until a replica's Prometheus has scraped each target since it started.
func (m *move) wantAllUp(t *testing.T, r *replica) {
	t.Helper()
	m.wantHealth(t, r, "up")
}

func (m *move) wantHealth(t *testing.T, r *replica, want string) {
	t.Helper()
	eventually(t, fmt.Sprintf("all targets of %s to be %s", r.name, want), func(ctx context.Context) error {
		health, err := r.prometheus.Health(ctx)
		if err != nil {
			return err
		}
		for _, target := range m.addresses {
			if health[target] != want {
				return fmt.Errorf("target %s is %q", target, health[target])
			}
		}
		return nil
	})
}

// scrapes returns what each replica has scraped of each target since a time, by target.
// It waits until both have scraped once more, so that no gap is open.
func (m *move) scrapes(t *testing.T, since time.Time) map[string][][]scrape {
	t.Helper()
	all := map[string][][]scrape{}
	now := time.Now()
	for _, r := range m.replicas {
		eventually(t, "a further scrape of each target by "+r.name, func(ctx context.Context) error {
			series, err := r.prometheus.Samples(ctx, `up{job="shoot"}[30m]`)
			if err != nil {
				return err
			}
			if len(series) != len(m.addresses) {
				return fmt.Errorf("it has %d targets, want %d", len(series), len(m.addresses))
			}
			for _, s := range series {
				if !s.Times[len(s.Times)-1].After(now) {
					return fmt.Errorf("the last of %s was at %v", s.Labels["instance"], s.Times[len(s.Times)-1])
				}
			}
			for _, s := range series {
				var scrapes []scrape
				for i, at := range s.Times {
					up := s.Values[i] == 1
					if !at.Before(since) && (up || !r.interrupted(at)) {
						scrapes = append(scrapes, scrape{at: at, up: up})
					}
				}
				all[s.Labels["instance"]] = append(all[s.Labels["instance"]], scrapes)
			}
			return nil
		})
	}
	return all
}

// TestMovingAShootLosesNoScrape: the procedure of docs/vpn.md moves a shoot from the VPN to
// proxy-client and back. No scrape of either replica fails. The samples of both together
// have no gap of two scrape intervals. TestACarelessMoveLosesScrapes is its control.
func TestMovingAShootLosesNoScrape(t *testing.T) {
	t.Parallel()
	m := newMove(t)
	one, zero := m.replicas[1], m.replicas[0]
	var breakdown lab.Undo // of the VPN
	began := m.bothScraped(t)
	follow(t, "Move a shoot to proxy-client", []step{
		{"Prepare the namespace, and leave its pods alone", m.wantBothWays},
		{"Put the label on the pods", func(t *testing.T) {
			m.replaceAndCheck(t, one)
			m.replaceAndCheck(t, zero)
		}},
		{"Switch the namespace to proxy-client", func(*testing.T) { m.inject = true }},
		{"Replace one replica", func(t *testing.T) { m.replace(t, one) }},
		{"Check that it scrapes every target", func(t *testing.T) { m.wantAllUp(t, one) }},
		{"Replace the other, and check it too", func(t *testing.T) { m.replaceAndCheck(t, zero) }},
		{"Take the VPN away", func(t *testing.T) { breakdown = m.breakVPN(t) }},
	})
	m.wantNoneLost(t, began)
	began = m.bothScraped(t)
	follow(t, "Move it back", []step{
		{"Bring the VPN back, and keep the proxy-server", func(t *testing.T) {
			if err := breakdown(); err != nil {
				t.Fatal(err)
			}
			m.wantBothWays(t)
		}},
		{"Switch the namespace back", func(*testing.T) { m.inject = false }},
		{"Replace one replica, and check it", func(t *testing.T) { m.replaceAndCheck(t, one) }},
		{"Replace the other, and check it", func(t *testing.T) { m.replaceAndCheck(t, zero) }},
		{"Take proxy-client's parts away", func(*testing.T) { m.Servers[0].Kill() }},
	})
	m.wantNoneLost(t, began)
}

// TestACarelessMoveLosesScrapes: another order than that of docs/vpn.md has gaps of two
// scrape intervals, and they are found.
func TestACarelessMoveLosesScrapes(t *testing.T) {
	t.Parallel()
	t.Run("the first replica is not checked", func(t *testing.T) {
		t.Parallel()
		m := newMove(t)
		m.Servers[0].Kill()
		m.testUnchecked(t)
	})
	t.Run("the proxy-server is taken away first", func(t *testing.T) {
		t.Parallel()
		m := newMove(t)
		m.inject = true
		for _, r := range m.replicas {
			m.replaceAndCheck(t, r)
		}
		m.testTakenAwayFirst(t)
	})
}

// wantBothWays expects what both sections ask for before a pod is replaced: the VPN works,
// and so does the proxy-server.
func (m *move) wantBothWays(t *testing.T) {
	t.Helper()
	ctx := labtest.Context(t, hang)
	if err := m.WaitTunnel(ctx); err != nil {
		t.Fatal(err)
	}
	pod, err := m.AddPod()
	if err != nil {
		t.Fatal(err)
	}
	curl := lab.Command{Path: "curl", UID: lab.AppUID, Args: []string{"-sS", "--connect-timeout", "5", "http://" + m.addresses[0] + "/"}}
	if _, err := pod.Run(ctx, curl); err == nil {
		t.Error("a pod reaches the shoot without a VPN, so this test proves nothing")
	}
	member, err := m.vpn.Join(pod)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pod.Run(ctx, curl); err != nil {
		t.Errorf("the VPN does not work: %v", err)
	}
	if err := member.Leave(); err != nil {
		t.Error(err)
	}
}

// breakVPN breaks the VPN, and expects that both replicas go on scraping.
func (m *move) breakVPN(t *testing.T) lab.Undo {
	t.Helper()
	undo, err := m.vpn.Break(labtest.Context(t, hang))
	if err != nil {
		t.Fatal(err)
	}
	for target, replicas := range m.scrapes(t, time.Now()) {
		for i, scrapes := range replicas {
			if failed(scrapes) > 0 {
				t.Errorf("%s does not reach %s without the VPN", m.replicas[i].name, target)
			}
		}
	}
	return undo
}

// wantNoneLost expects that no scrape was lost since a time, and logs the longest gap of
// each replica alone.
func (m *move) wantNoneLost(t *testing.T, since time.Time) {
	t.Helper()
	for target, replicas := range m.scrapes(t, since) {
		for i, scrapes := range replicas {
			if n := failed(scrapes); n > 0 {
				t.Errorf("%d scrapes of %s by %s failed", n, target, m.replicas[i].name)
			}
			t.Logf("%s: %s has %d samples, and a longest gap of %v", target, m.replicas[i].name, len(scrapes), longestGap(scrapes))
		}
		union := slices.Concat(replicas...)
		t.Logf("%s: both together have %d samples, and a longest gap of %v", target, len(union), longestGap(union))
		for _, gap := range lost(union, moveInterval) {
			t.Errorf("%s was not scraped by either replica from %v to %v", target, gap.from, gap.to)
		}
	}
}

// wantLost expects that scrapes of each target were lost since a time: the control.
func (m *move) wantLost(t *testing.T, since time.Time) {
	t.Helper()
	for target, replicas := range m.scrapes(t, since) {
		union := slices.Concat(replicas...)
		gaps := lost(union, moveInterval)
		if len(gaps) == 0 {
			t.Errorf("no scrape of %s was lost, so the test cannot find a lost one", target)
		}
		t.Logf("%s: both together have a longest gap of %v", target, longestGap(union))
	}
}

// testUnchecked: if the second replica is replaced although the first one does not scrape
// yet, no scrape succeeds until the cause is found. Here the proxy-server does not run.
func (m *move) testUnchecked(t *testing.T) {
	began := m.bothScraped(t)
	m.inject = true
	for _, r := range m.replicas {
		m.replace(t, r)
	}
	m.wantBothDown(t)
	m.startServer(t)
	for _, r := range m.replicas {
		m.wantAllUp(t, r)
	}
	m.wantLost(t, began)
}

// testTakenAwayFirst: if the old way is taken away before a replica has moved, scrapes fail
// until one has.
func (m *move) testTakenAwayFirst(t *testing.T) {
	began := m.bothScraped(t)
	m.Servers[0].Kill()
	m.wantBothDown(t)
	m.inject = false
	m.replaceAndCheck(t, m.replicas[1])
	m.wantLost(t, began)
}

// startServer starts the proxy-server again, and waits for its agent.
func (m *move) startServer(t *testing.T) {
	t.Helper()
	ctx := labtest.Context(t, hang)
	if err := m.Servers[0].Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.Agents[0].Restart(); err != nil { // so that it does not wait to dial again
		t.Fatal(err)
	}
	if err := m.WaitTunnel(ctx); err != nil {
		t.Fatal(err)
	}
}

// bothScraped waits until both replicas have scraped each target since the call, and
// returns the time of the call.
func (m *move) bothScraped(t *testing.T) time.Time {
	t.Helper()
	now := time.Now()
	m.scrapes(t, now)
	return now
}

// wantBothDown waits until at least two scrapes of each target by each replica have failed.
func (m *move) wantBothDown(t *testing.T) {
	t.Helper()
	for _, r := range m.replicas {
		m.wantHealth(t, r, "down")
	}
	m.bothScraped(t)
}
