// SPDX-License-Identifier: Apache-2.0

package check

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestClockWithoutAServersTime: if no server says the time, certificates of several roles
// that are all invalid in the same way tell that the clock is wrong, and one alone does not.
func TestClockWithoutAServersTime(t *testing.T) {
	now := time.Now()
	cert := func(from, until time.Duration) []*x509.Certificate {
		return []*x509.Certificate{{NotBefore: now.Add(from), NotAfter: now.Add(until)}}
	}
	good, old, early := cert(-time.Hour, time.Hour), cert(-2*time.Hour, -time.Hour), cert(50*time.Hour, 99*time.Hour)
	for _, tc := range []struct {
		name  string
		certs map[string][]*x509.Certificate
		bad   bool
		words string
	}{
		{"all are good", map[string][]*x509.Certificate{"CA": good, "client": good}, false, "No certificate suggests"},
		{"the server's is not valid yet", map[string][]*x509.Certificate{"CA": good, "server": early}, false, "No certificate suggests"},
		{"there is only one", map[string][]*x509.Certificate{"CA": early}, false, "No certificate suggests"},
		{"none is valid yet", map[string][]*x509.Certificate{"CA": early, "client": early, "server": early}, true, "(CA, client, server) is valid yet: the clock is most likely slow, by 2 days"},
		{"all have expired", map[string][]*x509.Certificate{"CA": old, "server": old}, true, "(CA, server) have expired"},
		{"some have expired", map[string][]*x509.Certificate{"CA": good, "client": old, "server": old}, false, "No certificate suggests"},
	} {
		got := clockEvidence{now: now, certs: tc.certs}.judge()
		if bad := got.Result == report.Failure; bad != tc.bad || !strings.Contains(got.Found, tc.words) {
			t.Errorf("%s: %s: %s", tc.name, got.Result, got.Found)
		}
	}
}

// TestAWrongClockExcusesCertificates: what is only wrong by a wrong clock is not blamed.
func TestAWrongClockExcusesCertificates(t *testing.T) {
	steps := []report.Step{
		{Name: report.StepFiles, Result: report.Failure, Cause: report.CauseNotYetValid, Found: "a", Next: "b"},
		{Name: report.StepTLS, Result: report.Failure, Cause: report.CauseWrongCA},
	}
	excuse(steps)
	if steps[0].Result != report.Skipped || steps[0].Next != "" || !strings.Contains(steps[0].Found, report.StepClock) {
		t.Errorf("got %+v", steps[0])
	}
	if steps[1].Result != report.Failure {
		t.Error("a wrong CA has nothing to do with the clock")
	}
}

// TestUsualTargets: --probe dials what most shoots have, not outside of the CIDRs, and a
// few only. It is a warning if none answers.
func TestUsualTargets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Targets, w.Suspects = nil, true
	w.CIDRs = cidrs(t, "100.104.0.0/13", "10.250.0.0/30", "fd00:10::/48")
	w.Services = []netip.Prefix{netip.MustParsePrefix("100.104.0.0/13"), netip.MustParsePrefix("192.168.0.0/16")}
	w.Nodes = []netip.Prefix{netip.MustParsePrefix("10.250.0.0/30"), netip.MustParsePrefix("fd00:10::/64")}
	c := &checker{Config: w.Config}
	var got []string
	for _, s := range c.usual() {
		got = append(got, s.addr.String())
	}
	want := []string{
		"100.104.0.1:443", "100.104.0.10:53", "10.250.0.1:10250", "10.250.0.2:10250", "10.250.0.3:10250",
		"[fd00:10::1]:10250", "[fd00:10::2]:10250", "[fd00:10::3]:10250", "[fd00:10::4]:10250",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the usual targets (-want +got):\n%s", diff)
	}
	w.server.change(func(s *fakeServer) { s.targets["100.104.0.1:443"] = func(net.Conn) {} })
	if got := w.run(t); got.ExitCode != report.ExitOK {
		t.Errorf("the API server answers, and the result is %s", textOfReport(t, got))
	}
	w.server.change(func(s *fakeServer) { delete(s.targets, "100.104.0.1:443") })
	if got := w.run(t); got.ExitCode != report.ExitWarnings || !strings.Contains(got.Verdict, "none of the usual targets") {
		t.Errorf("nothing answers, and the verdict is %s", got.Verdict)
	}
}

// TestNamesOfTargetsAndServers: each address of a name is checked, and the report says that
// an app needs an address.
func TestNamesOfTargetsAndServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	port := w.server.listener.Addr().(*net.TCPAddr).AddrPort().Port()
	w.Servers = []tunnel.Server{w.server.at(netJoin("localhost", port))}
	w.resolver = names{"localhost": {netip.MustParseAddr("127.0.0.1")}, "prometheus": {netip.MustParseAddr("100.64.3.7")}}
	w.target(t, "prometheus:9100")
	got := w.run(t)
	said := strings.Join(strings.Fields(textOfReport(t, got)), " ")
	for _, words := range []string{"the app has to use an address", "100.64.3.7:9100: connected", `is for "localhost"`} {
		if !strings.Contains(said, words) {
			t.Errorf("the report does not say %q:\n%s", words, said)
		}
	}
	if got.ExitCode != report.ExitOK {
		t.Errorf("exit code %d", got.ExitCode)
	}
}

func netJoin(host string, port uint16) string {
	return net.JoinHostPort(host, netip.AddrPortFrom(netip.IPv4Unspecified(), port).String()[len("0.0.0.0:"):])
}

// TestABundleIsJudgedByWhatItStillHas: an old CA beside a new one is no fault, and hides none.
func TestABundleIsJudgedByWhatItStillHas(t *testing.T) {
	now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	ca := func(name string, days int) *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-3, 0, 0), NotAfter: now.AddDate(0, 0, days),
		}
	}
	c := &checker{Config: Config{now: func() time.Time { return now }}}
	for _, tc := range []struct {
		name   string
		chain  []*x509.Certificate
		result report.Result
		want   []string
		not    string
	}{
		{"old and new", []*x509.Certificate{ca("old", -27), ca("new", 900)}, report.OK, []string{`"CN=new" expires on`, "2 certificates in the file, 1 of them not valid now"}, "old"},
		{"old, and one that ends soon", []*x509.Certificate{ca("old", -27), ca("new", 3)}, report.Warning, []string{`"CN=new" expires on 2026-12-01, in 3 days`}, "old"},
		{"two that are valid", []*x509.Certificate{ca("one", 800), ca("two", 900)}, report.OK, []string{`"CN=one"`, "2 certificates in the file"}, "not valid"},
	} {
		step := c.judgeFile(report.Step{Result: report.OK}, "--ca-cert", "ca.crt", "CA", tc.chain, nil)
		if step.Result != tc.result || strings.Contains(step.Found, tc.not) {
			t.Errorf("%s: %s, %q, want %s without %q", tc.name, step.Result, step.Found, tc.result, tc.not)
		}
		for _, want := range tc.want {
			if !strings.Contains(step.Found, want) {
				t.Errorf("%s: %q does not say %q", tc.name, step.Found, want)
			}
		}
	}
}
