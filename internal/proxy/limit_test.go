// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"io"
	"math"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/clocktest"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/probe"
)

func TestConnectionLimitFitsTheDescriptors(t *testing.T) {
	for _, tt := range []struct {
		name  string
		asked int
		files uint64
		each  int
		limit int
		short bool
	}{
		{"hardly any files", defaults.MaxConnections, 16, 2, 6, true},
		{"no files at all", defaults.MaxConnections, 0, 2, 1, true},
		{"the default of many systems, HTTP CONNECT", defaults.MaxConnections, 1024, 2, 416, true},
		{"the default of many systems, gRPC", defaults.MaxConnections, 1024, 1, 832, true},
		{"just enough", defaults.MaxConnections, 2*defaults.MaxConnections + reservedFiles, 2, defaults.MaxConnections, false},
		{"one too few", defaults.MaxConnections, 2*defaults.MaxConnections + reservedFiles - 1, 2, defaults.MaxConnections - 1, true},
		{"Kubernetes' usual", defaults.MaxConnections, 1 << 20, 2, defaults.MaxConnections, false},
		{"no limit", defaults.MaxConnections, math.MaxUint64, 2, defaults.MaxConnections, false},
		{"asked for less", 10, 1024, 2, 10, false},
		{"asked for more than there are", 1000, 1024, 2, 416, true},
		{"asked for more than the default", 100_000, 1 << 20, 1, 100_000, false},
	} {
		if limit, short := ConnectionLimit(tt.asked, tt.files, tt.each); limit != tt.limit || short != tt.short {
			t.Errorf("%s: %d connections asked for with %d files, %d each: got %d, short %t, want %d, %t", tt.name, tt.asked, tt.files, tt.each, limit, short, tt.limit, tt.short)
		}
	}
}

// The connections of the health address are within the reserve, for any limit of files.
func TestHealthConnectionsFitTheReserve(t *testing.T) {
	for files, want := range map[uint64]int{0: 1, 16: 1, 64: 5, 256: 21, 1024: 64, 4096: 64, math.MaxUint64: 64} {
		if got := HealthConnections(files); got != want {
			t.Errorf("with %d files the health address may have %d connections, want %d", files, got, want)
		}
	}
	for files := uint64(16); files < 2048; files++ {
		limit, _ := ConnectionLimit(math.MaxInt, files, 2)
		if used := 2*uint64(limit) + uint64(HealthConnections(files)+AdminConnections(files)); used >= files {
			t.Fatalf("of %d files, connections and the health address may take %d", files, used)
		}
	}
}

func TestConnectionLimitLosesNoRoom(t *testing.T) {
	l := connectionLimit{max: 3}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if l.acquire() {
					if open := l.open.Load(); open > l.max {
						t.Errorf("%d connections are open, %d may be", open, l.max)
					}
					l.release()
				}
			}
		})
	}
	all.Wait()
	for range l.max {
		if !l.acquire() {
			t.Fatal("nothing is open, but there is no room")
		}
	}
	if l.acquire() {
		t.Error("one more than may be open was let in")
	}
}

func TestBeyondMaxConnectionsNewOnesAreReset(t *testing.T) {
	lead, accept := tunnelTo(t)
	destinations := make(chan netip.AddrPort, 1)
	h := start(t, dials(lead), target, func(p *Proxy) {
		p.connections.max = 2
		p.lookup = func(syscall.Conn) (netip.AddrPort, error) { return <-destinations, nil }
	})
	connectTo := func(destination netip.AddrPort) io.ReadWriteCloser {
		destinations <- destination
		return h.connect()
	}
	first := connectTo(target)
	far := accept()
	connectTo(target)
	accept()
	const refused = 5
	for range refused {
		destinations <- target
		wantReset(t, h.connect())
	}
	line := h.line("connections not made")
	if text, _ := line["error"].(string); line["level"] != "WARN" || line["reason"] != "max_connections" || line["refused"] != 1.0 || !strings.Contains(text, "--max-connections") {
		t.Errorf("the log does not say that connections are refused, and what to do: %v", line)
	}
	h.eventually("they are counted", func() bool { return h.value("proxy_client_connections_total", "result", "refused") == refused })
	h.wantValue(refused, "proxy_client_dial_failures_total", "reason", "max_connections")
	if n := len(h.log.Lines(t, "connection not made")); n != 0 {
		t.Errorf("%d more log lines about refused connections: that is a flood", n)
	}

	probed := probe.Target4(shoot(t))
	if answer, err := io.ReadAll(connectTo(probed)); err != nil || !strings.Contains(string(answer), probed.String()) {
		t.Errorf("a full sidecar does not answer the probe of the redirect, which looks lost: %q, %v", answer, err)
	}

	far.Close()
	if _, err := io.Copy(io.Discard, first); err != nil {
		t.Fatal(err)
	}
	first.Close()
	h.eventually("there is room again", func() bool { return h.connections.open.Load() == 1 })
	destinations <- target
	exchange(t, h.connect(), accept())
}

func TestALimitedWarningIsLoggedAtIntervalsAndCountsAll(t *testing.T) {
	var c limitedWarning
	now := time.Unix(1_800_000_000, 0)
	for i, tt := range []struct {
		after time.Duration
		times int64
		due   bool
	}{
		{0, 1, true}, {time.Second, 0, false}, {time.Second, 0, false}, {warningInterval, 3, true}, {warningInterval, 1, true},
	} {
		now = now.Add(tt.after)
		if times, due := c.add(now); times != tt.times || due != tt.due {
			t.Errorf("event %d: told of %d, %t, want %d, %t", i, times, due, tt.times, tt.due)
		}
	}
}

func TestAnIdleConnectionIsReset(t *testing.T) {
	lead, accept := tunnelTo(t)
	h := start(t, dials(lead), target, func(p *Proxy) { p.cfg.IdleTimeout = 300 * time.Millisecond })
	app, far := h.connect(), accept()
	wantReset(t, app)
	if _, err := io.Copy(io.Discard, far); err != nil {
		t.Errorf("the target's connection did not end well: %v", err)
	}
	if line := h.line("connection closed"); line["reason"] != "idle" || line["level"] != "INFO" {
		t.Errorf("the log does not say that the connection was idle, as was asked for: %v", line)
	}
	h.wantValue(1, "proxy_client_close_total", "reason", "idle")
}

// Setting the wall clock neither hastens nor delays a warning.
func TestALimitedWarningIgnoresASteppedClock(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		var c limitedWarning
		now := time.Now()
		if _, due := c.add(now); !due {
			t.Fatal("the first complaint is not told")
		}
		if _, due := c.add(clocktest.Step(t, now.Add(time.Second), step)); due {
			t.Errorf("a clock that was set by %s tells a complaint after one second", step)
		}
		if times, due := c.add(clocktest.Step(t, now.Add(warningInterval), step)); !due || times != 2 {
			t.Errorf("a clock that was set by %s: after %s a complaint is due: %v, of %d times, want 2", step, warningInterval, due, times)
		}
	}
}
