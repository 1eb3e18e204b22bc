// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/internal/repetition"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestRefusalsShareLines: a client that is refused again and again makes a few lines, which
// say how often it was. Refusals for another cause have lines of their own.
func TestRefusalsShareLines(t *testing.T) {
	t.Parallel()
	const times = 300
	e := newExit(t, allowLoopback, nil)
	client := e.connect(t, "app")
	port := freePort(t)
	closed := "127.0.0.9:" + port
	for range times {
		if u := open(t, client, "10.0.0.1:80"); u.StatusCode != 403 {
			t.Fatalf("status %d", u.StatusCode)
		}
	}
	if u := open(t, client, closed); u.StatusCode != 502 {
		t.Fatalf("status %d", u.StatusCode)
	}
	if err := e.stop(); err != nil {
		t.Error(err)
	}
	own, other := 0, 0
	for _, line := range e.log.Lines(t, oneRefused) {
		switch line["destination"] {
		case "10.0.0.1:80":
			own++
		case closed:
			other++
		}
	}
	if own < repetition.AtOnce || own > times/2 || other != 1 {
		t.Errorf("%d and %d lines", own, other)
	}
	for _, line := range e.log.Lines(t, manyRefused) {
		own += int(line["times"].(float64))
		if line["destination"] != "10.0.0.1:80" || line["error"] != string(ErrorIPProhibited) || line["status"] != 403.0 || line["client"] == nil || line["details"] == nil {
			t.Errorf("a line about several does not say which: %v", line)
		}
	}
	if own != times {
		t.Errorf("the lines are about %d refusals, want %d", own, times)
	}
}

// TestFailedHandshakesShareLines: a client that tries again and again makes a few lines, which
// say how often it was, and which certificate it has shown. Another cause has lines of its own.
func TestFailedHandshakesShareLines(t *testing.T) {
	t.Parallel()
	const times = 40
	e := newExit(t, allowLoopback, nil)
	expired := e.ca.Issue(t, x509.Certificate{
		Subject: pkix.Name{CommonName: "old"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotAfter: time.Now().Add(-time.Minute),
	})
	try := func(cfg *tls.Config) {
		if conn, err := tls.Dial("tcp", e.address, cfg); err == nil { // in TLS 1.3 the client is refused after its handshake
			_, _ = io.ReadAll(conn)
			_ = conn.Close()
		}
	}
	for range times {
		try(e.clientTLS(expired))
	}
	try(e.clientTLS(nil))
	waittest.Eventually(t, "the count", func() bool { return e.metric(t, "proxy_exit_connections_total", "handshake") == times+1 })
	if err := e.stop(); err != nil {
		t.Error(err)
	}
	own, other := 0, 0
	for _, line := range e.log.Lines(t, oneFailed) {
		if line["certificate"] == "CN=old" {
			own++
		} else if _, has := line["certificate"]; !has {
			other++
		}
	}
	if own < repetition.AtOnce || own > times/2 || other != 1 {
		t.Errorf("%d and %d lines", own, other)
	}
	for _, line := range e.log.Lines(t, manyFailed) {
		own += int(line["times"].(float64))
		said, _ := line["error"].(string)
		if line["level"] != "WARN" || line["certificate"] != "CN=old" || line["from"] == nil || line["client"] != nil || !strings.Contains(said, "renew it") {
			t.Errorf("a line about several does not say which: %v", line)
		}
	}
	if own != times {
		t.Errorf("the lines are about %d handshakes, want %d", own, times)
	}
}

// TestManyDestinations: a client that asks for ever other destinations makes few lines too.
// All are counted in them, and none is kept when the client has stopped. Another client's
// refusals have lines of their own.
func TestManyDestinations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &logtest.Buffer{}
		r := newRepeats(log.Logger(slog.LevelInfo), slog.LevelInfo, "destination")
		lines := 0
		add := func(client, destination string) (own bool) {
			key := repeatKey{client: client, destination: destination, cause: "dns_error"}
			own = r.add(time.Now(), key, client, manyRefused, []any{"error", key.cause})
			if own {
				lines++
			}
			return own
		}
		const destinations, rounds = 1000, 20
		for range rounds {
			for i := range destinations {
				add("hostile", fmt.Sprintf("n%d.test:80", i))
			}
			time.Sleep(repetition.Interval / 2)
		}
		if !add("other", "a.test:80") {
			t.Error("another client's refusal has no line")
		}
		if most := (maxDestinations + 1) * repetition.AtOnce * rounds / 2; lines > most {
			t.Errorf("%d lines about single streams, want %d at most", lines, most)
		}
		time.Sleep(3 * repetition.Interval)
		synctest.Wait()
		counted := lines
		together := log.Lines(t, manyRefused)
		for _, line := range together {
			counted += int(line["times"].(float64))
		}
		if want := destinations*rounds + 1; counted != want || len(together) > (maxDestinations+1)*rounds {
			t.Errorf("%d lines are about %d refusals, want %d", len(together), counted, want)
		}
		if len(r.lines) != 0 || len(r.destinations) != 0 || r.timer != nil {
			t.Errorf("%d lines and %d clients are kept", len(r.lines), len(r.destinations))
		}
	})
}
