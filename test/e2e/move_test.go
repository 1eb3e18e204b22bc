// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// way is how the pods of a Prometheus reach the shoot.
type way string

const (
	byVPN    way = "by the VPN"
	byTunnel way = "by proxy-client"
)

// replica is one of two that scrape the same targets: a pod with its Prometheus. The
// volume with the samples stays if the pod is replaced.
type replica struct {
	name       string
	pod        *lab.Namespace
	member     *lab.Member  // of the VPN; nil if the pod has none
	sidecar    *lab.Process // nil if the pod has none
	prometheus *lab.Prometheus
	ends       []time.Time // when its Prometheus was told to end
}

// interrupted reports whether a scrape that began at a time may have been on its way when
// its Prometheus ended. Prometheus records such a scrape as failed.
func (r *replica) interrupted(began time.Time) bool {
	return slices.ContainsFunc(r.ends, func(end time.Time) bool {
		return !began.After(end) && began.After(end.Add(-scrapeInterval)) // which is also the timeout
	})
}

// move is a shoot with a VPN and a proxy-server, and two replicas.
type move struct {
	*rig
	vpn       *lab.VPN
	addresses []string // of the targets
	replicas  []*replica
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
		m.begin(t, r, byVPN)
		m.wantAllUp(t, r)
	}
	return m
}

// replace ends a replica's pod and makes another one, as the controller of a StatefulSet
// does.
func (m *move) replace(t *testing.T, r *replica, to way) {
	t.Helper()
	m.end(t, r)
	m.begin(t, r, to)
}

// end ends a replica's pod, in the order of a kubelet: the app first, then its sidecar.
func (m *move) end(t *testing.T, r *replica) {
	t.Helper()
	r.ends = append(r.ends, time.Now())
	r.prometheus.Stop(hang)
	if r.sidecar != nil {
		r.sidecar.Stop(hang)
	}
	if r.member != nil {
		if err := r.member.Leave(); err != nil {
			t.Fatal(err)
		}
	}
	r.member, r.sidecar, r.prometheus = nil, nil, nil
}

// begin makes a replica's pod and starts its Prometheus. Like a kubelet, it waits until the
// sidecar is alive, but not for the proxy-server or a target.
func (m *move) begin(t *testing.T, r *replica, by way) {
	t.Helper()
	ctx := labtest.Context(t, hang)
	var err error
	if r.pod, err = m.AddPod(); err != nil {
		t.Fatal(err)
	}
	switch by {
	case byVPN:
		r.member, err = m.vpn.Join(r.pod)
	case byTunnel:
		if _, err = r.pod.Run(ctx, m.InitRedirectCommand("apply")); err != nil {
			break
		}
		if r.sidecar, err = m.StartSidecarIn(r.pod, m.ProxyClientCommand()); err == nil {
			err = m.WaitSidecar(ctx, r.pod, r.sidecar, "/livez") // the startup probe
		}
	}
	if err != nil {
		t.Fatalf("%s, %s: %v", r.name, by, err)
	}
	r.prometheus, err = m.StartPrometheusIn(ctx, lab.PrometheusSettings{
		Pod: r.pod, Name: r.name, Interval: scrapeInterval,
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

// documentedSteps returns the headings of the steps in a section of docs/vpn.md.
func documentedSteps(t *testing.T, section string) []string {
	t.Helper()
	root, err := lab.RepositoryRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "vpn.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?ms)^## ` + regexp.QuoteMeta(section) + `$(.*?)(^## |\z)`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("docs/vpn.md has no section %q", section)
	}
	var steps []string
	for _, step := range regexp.MustCompile(`(?m)^### \d+\. (.*)$`).FindAllSubmatch(found[1], -1) {
		steps = append(steps, string(step[1]))
	}
	return steps
}

// step is a step of the document, and what the test does for it.
type step struct {
	title string
	do    func(t *testing.T)
}

// follow does the steps of a section of docs/vpn.md. It fails if the document has others,
// or another order.
func (m *move) follow(t *testing.T, section string, steps []step) {
	t.Helper()
	var titles []string
	for _, s := range steps {
		titles = append(titles, s.title)
	}
	if diff := cmp.Diff(documentedSteps(t, section), titles); diff != "" {
		t.Fatalf("the steps of %q (-docs/vpn.md +this test):\n%s", section, diff)
	}
	for _, s := range steps {
		if !t.Run(s.title, s.do) {
			t.FailNow()
		}
	}
}

// TestMovingAShootLosesNoScrape: the procedure of docs/vpn.md moves a shoot from the VPN to
// proxy-client and back. No scrape of either replica fails. The samples of both together
// have no gap of two scrape intervals. The controls show that a careless order has such
// gaps.
func TestMovingAShootLosesNoScrape(t *testing.T) {
	t.Parallel()
	m := newMove(t)
	one, zero := m.replicas[1], m.replicas[0]
	began := m.bothScraped(t)
	m.follow(t, "Move a shoot to proxy-client", []step{
		{"Keep the VPN, and prepare the namespace", func(t *testing.T) { m.prepare(t) }},
		{"Replace one replica", func(t *testing.T) { m.replace(t, one, byTunnel) }},
		{"Check that it scrapes every target", func(t *testing.T) { m.wantAllUp(t, one) }},
		{"Replace the other, and check it too", func(t *testing.T) {
			m.replace(t, zero, byTunnel)
			m.wantAllUp(t, zero)
		}},
		{"Take the VPN away", func(t *testing.T) { m.takeVPNAway(t) }},
	})
	m.wantNoneLost(t, began)
	began = m.bothScraped(t)
	m.follow(t, "Move it back", []step{
		{"Bring the VPN back, and keep the proxy-server", func(t *testing.T) { m.prepare(t) }},
		{"Replace one replica, and check it", func(t *testing.T) {
			m.replace(t, one, byVPN)
			m.wantAllUp(t, one)
		}},
		{"Replace the other, and check it", func(t *testing.T) {
			m.replace(t, zero, byVPN)
			m.wantAllUp(t, zero)
		}},
		{"Take proxy-client's parts away", func(t *testing.T) { m.Servers[0].Kill() }},
	})
	m.wantNoneLost(t, began)
	t.Run("control: the first replica is not checked", m.testUnchecked)
	t.Run("control: the proxy-server is taken away first", m.testTakenAwayFirst)
}

// prepare expects what both sections ask for before a pod is replaced: the proxy-server
// works, and so does the VPN.
func (m *move) prepare(t *testing.T) {
	t.Helper()
	if err := m.WaitTunnel(labtest.Context(t, hang)); err != nil {
		t.Fatal(err)
	}
	pod, err := m.AddPod()
	if err != nil {
		t.Fatal(err)
	}
	member, err := m.vpn.Join(pod)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pod.Run(labtest.Context(t, hang), lab.Command{Path: "curl", UID: lab.AppUID, Args: []string{"-sS", "http://" + m.addresses[0] + "/"}}); err != nil {
		t.Errorf("the VPN does not work: %v", err)
	}
	if err := member.Leave(); err != nil {
		t.Error(err)
	}
}

// takeVPNAway breaks the VPN. All replicas go on scraping.
func (m *move) takeVPNAway(t *testing.T) {
	t.Helper()
	undo, err := m.vpn.Break(labtest.Context(t, hang))
	if err != nil {
		t.Fatal(err)
	}
	for target, replicas := range m.scrapes(t, time.Now()) {
		for i, scrapes := range replicas {
			if slices.ContainsFunc(scrapes, func(s scrape) bool { return !s.up }) {
				t.Errorf("%s does not reach %s without the VPN", m.replicas[i].name, target)
			}
		}
	}
	if err := undo(); err != nil { // for what follows
		t.Error(err)
	}
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
		for _, gap := range lost(union, scrapeInterval) {
			t.Errorf("%s was not scraped by either replica from %v to %v", target, gap.from, gap.to)
		}
	}
}

// wantLost expects that scrapes of each target were lost since a time: the control.
func (m *move) wantLost(t *testing.T, since time.Time) {
	t.Helper()
	for target, replicas := range m.scrapes(t, since) {
		union := slices.Concat(replicas...)
		gaps := lost(union, scrapeInterval)
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
	for _, r := range m.replicas {
		m.replace(t, r, byTunnel)
	}
	m.wantBothDown(t)
	m.startServer(t)
	for _, r := range m.replicas {
		m.wantAllUp(t, r)
	}
	m.wantLost(t, began)
}

// testTakenAwayFirst: if the old way is taken away before the replicas have moved, scrapes
// fail until they have.
func (m *move) testTakenAwayFirst(t *testing.T) {
	began := m.bothScraped(t)
	m.Servers[0].Kill()
	m.wantBothDown(t)
	for _, r := range m.replicas {
		m.replace(t, r, byVPN)
		m.wantAllUp(t, r)
	}
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
