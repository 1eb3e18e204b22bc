// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// traffic sends numbered messages through a redirected connection until it is stopped. It
// sends each after the echo of the one before.
type traffic struct {
	conn   net.Conn
	rounds atomic.Int64
	stop   atomic.Bool
	ended  chan error
}

func (p pod) startTraffic(t *testing.T, f Family) *traffic {
	t.Helper()
	conn, err := p.dial(t, "tcp", shootTarget(f))
	if err != nil {
		t.Fatal(err)
	}
	if got := readLine(t, conn); got != shootTarget(f).String() {
		t.Fatalf("the connection goes to %q, want %s", got, shootTarget(f))
	}
	_ = conn.SetDeadline(time.Now().Add(3 * hang))
	tr := &traffic{conn: conn, ended: make(chan error, 1)}
	go func() { tr.ended <- tr.run() }()
	t.Cleanup(func() {
		_ = conn.Close()
		tr.stop.Store(true)
		<-tr.ended
		close(tr.ended)
	})
	tr.awaitRounds(t)
	return tr
}

func (tr *traffic) run() error {
	message := bytes.Repeat([]byte("x"), 4096)
	answer := make([]byte, len(message))
	for !tr.stop.Load() {
		copy(message, fmt.Sprintf("%08d", tr.rounds.Load()))
		if _, err := tr.conn.Write(message); err != nil {
			return err
		}
		if _, err := io.ReadFull(tr.conn, answer); err != nil {
			return err
		}
		if !bytes.Equal(message, answer) {
			return fmt.Errorf("round %d came back changed", tr.rounds.Load())
		}
		tr.rounds.Add(1)
	}
	return nil
}

// awaitRounds waits until more messages have come back.
func (tr *traffic) awaitRounds(t *testing.T) {
	t.Helper()
	const enough = 50
	goal, until := tr.rounds.Load()+enough, time.Now().Add(hang)
	for tr.rounds.Load() < goal {
		if time.Now().After(until) {
			t.Fatalf("the connection stands still after %d rounds", tr.rounds.Load())
		}
		select {
		case err := <-tr.ended:
			tr.ended <- err
			t.Fatalf("the connection broke after %d rounds: %v", tr.rounds.Load(), err)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestLiveConnectionSurvives(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		cfg := richConfig(f)
		p.apply(t, cfg, b)
		p.sidecar(t, f)
		tr := p.startTraffic(t, f)

		for _, step := range []struct {
			name   string
			change func()
		}{
			{"apply over the same rules", func() {}},
			{"repair of a deleted rule", func() { p.iptables(t, f, b, "-t", "nat", "-D", ChainOutput, "1") }},
			{"repair of the chain that selects, flushed", func() { p.iptables(t, f, b, "-t", "nat", "-F", ChainOutput) }},
			{"repair of a deleted jump", func() { p.iptables(t, f, b, "-t", "nat", "-D", "OUTPUT", "1") }},
			{"repair of a flushed guard", func() { p.iptables(t, f, b, "-F", ChainGuard) }},
			// The kernel forgets a namespace's connections when its last REDIRECT
			// rule is deleted. So that rule has to stay.
			{"repair of another proxy port", func() {
				p.iptables(t, f, b, "-t", "nat", "-R", ChainRedirect, "1", "-p", "tcp", "-j", "REDIRECT", "--to-ports", "1")
			}},
			{"repair of OUTPUT, flushed in both tables", func() {
				p.iptables(t, f, b, "-t", "nat", "-F", "OUTPUT")
				p.iptables(t, f, b, "-F", "OUTPUT")
			}},
		} {
			step.change()
			p.apply(t, cfg, b)
			// A restarted init container verifies too, and the sidecar answers.
			if err := p.verify(t, cfg, b); err != nil {
				t.Errorf("%s: %v", step.name, err)
			}
			t.Log(step.name)
			tr.awaitRounds(t)
		}

		// A changed configuration does not end the connection either.
		cfg.Shoot = append(cfg.Shoot, prefixes("10.250.0.0/16", "fd00:20::/48")...)
		p.apply(t, cfg, b)
		tr.awaitRounds(t)

		// After a drain the connection goes on, and new ones are rejected.
		cleaned, err := Clean(t.Context(), p.options(t, b), CleanOptions{Drain: true})
		if err != nil || cleaned.Live == 0 {
			t.Errorf("clean --drain: %+v, %v; want the live connection to be counted", cleaned, err)
		}
		tr.awaitRounds(t)
		if conn, err := p.dial(t, "tcp", shootTarget(f)); err == nil {
			conn.Close()
			t.Error("a new connection to the shoot succeeds while draining")
		}
		// Apply undoes the drain.
		p.apply(t, cfg, b)
		tr.awaitRounds(t)
		p.reaches(t, shootTarget(f))
	})
}

func TestDumpShowsALiveConnection(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		p.Run(t, "sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1", "net.netfilter.nf_conntrack_timestamp=1")
		cfg := richConfig(f)
		cfg.ProxyPort = 14001
		p.apply(t, cfg, b)
		p.sidecar(t, f)
		tr := p.startTraffic(t, f)
		// Dump does not show a connection that was not redirected.
		direct, err := p.dial(t, "tcp", shootlessTarget(f))
		if err == nil {
			defer direct.Close()
		}

		report, err := Dump(t.Context(), p.options(t, BackendAuto))
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Connections) != 1 {
			t.Fatalf("dump shows %d redirected connections, want 1: %+v", len(report.Connections), report.Connections)
		}
		c := report.Connections[0]
		if c.OriginalDestination != shootTarget(f) || c.State != "ESTABLISHED" || c.Family != f || c.Proxy.Port() != 14001 {
			t.Errorf("dump shows %+v, want an established connection to %s", c, shootTarget(f))
		}
		if c.SentBytes < 4096 || c.ReceivedBytes < 4096 || c.AgeSeconds == nil || c.TimeoutSeconds == 0 {
			t.Errorf("dump shows %+v, want bytes in both directions, an age and a timeout", c)
		}
		if got := counted(report, ChainRedirect); got == 0 {
			t.Errorf("the redirect rule matched no packet: %+v", report.Rules)
		}

		var table strings.Builder
		if err := report.WriteTable(&table); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{shootTarget(f).String(), "ESTABLISHED", "--to-ports 14001", ChainGuard, "PACKETS"} {
			if !strings.Contains(table.String(), want) {
				t.Errorf("the table lacks %q:\n%s", want, table.String())
			}
		}
		text, err := json.Marshal(report)
		if err != nil || !strings.Contains(string(text), fmt.Sprintf(`"originalDestination":%q`, shootTarget(f))) {
			t.Errorf("the JSON lacks the original destination: %s, %v", text, err)
		}
		tr.awaitRounds(t) // dump did not disturb the connection
	})
}

// shootlessTarget returns an address that no rule redirects and that no program listens on.
func shootlessTarget(f Family) netip.AddrPort {
	if f == IPv4 {
		return netip.MustParseAddrPort("10.99.0.1:9")
	}
	return netip.MustParseAddrPort("[fdcc:99::1]:9")
}

func counted(r *Report, chain string) (packets uint64) {
	for _, rule := range r.Rules {
		if rule.Chain == chain {
			packets += rule.Packets
		}
	}
	return packets
}
