// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// standardProxy is what a test expects of one kind of standard proxy.
type standardProxy struct {
	name   string
	kind   lab.ConnectProxyKind // empty: the stand-in for Envoy
	says   string               // the name by which it is known
	closed string               // the reason for a closed port
	halves bool                 // it carries half-closes
}

var standardProxies = []standardProxy{
	{"the stand-in for Envoy", "", "envoy", "refused", false},
	{"squid", lab.Squid, "squid", "refused", false},
	{"squid that resumes no session", lab.SquidNoResume, "squid", "refused", false},
	{"Apache", lab.Apache, "Apache", "unreachable", true}, // it does not say why
}

// TestStandardProxies: through a standard CONNECT proxy, which auto finds out, the apps get
// every byte and the right end. An app that does not read is not reset, nothing is held for
// it, and others do not notice it. Refusals have their reasons, at once. A target that does
// not answer is not the proxy's fault. If the proxy is killed, the app gets a reset.
func TestStandardProxies(t *testing.T) {
	for _, p := range standardProxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			r := newBareRig(t, lab.Options{})
			kill := p.start(t, r)
			r.apply(t)
			r.start(t, "--proxy-server="+r.ConnectProxyAddress(), "--half-close-timeout=2s", "--dial-timeout=3s")
			r.testKinds(t)
			r.testShortStandardConnections(t)
			r.transferBothWays(t, p.name, scale(16<<20))
			if p.kind != lab.SquidNoResume { // squid alone shows these
				r.wantStalledAppKept(t)
				r.wantHalfClose(t, p.halves)
			}
			if p.kind != "" { // what Envoy does the stand-in cannot show
				r.wantResetLost(t)
			}
			r.wantRefusal(t, target.ClosedPort, p.closed)
			r.wantRefusal(t, lab.ForbiddenPort, "forbidden")
			r.wantSilentTarget(t)
			r.wantKnown(t, p.says)
			before := r.metrics(t)
			x := r.startRaw(t, lab.ShootPod(lab.IPv6, 1))
			kill()
			if err := x.finish(); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the proxy died and the download ended with error %v, want a reset", err)
			}
			r.wantCounted(t, "proxy_client_close_total", before, "tunnel_broken")
		})
	}
}

// start starts the proxy. It returns a function that kills it.
func (p standardProxy) start(t *testing.T, r *rig) (kill func()) {
	t.Helper()
	if p.kind == "" {
		envoy, err := r.StartEnvoy()
		if err != nil {
			t.Fatal(err)
		}
		return envoy.Kill
	}
	proxy, err := r.NewConnectProxy(p.kind)
	if err == nil {
		err = proxy.Start(labtest.Context(t, hang))
	}
	if err != nil {
		t.Fatal(err)
	}
	return proxy.Kill
}

// testShortStandardConnections makes connections to a target that sends first and closes.
// None may fail: a proxy may refuse to resume TLS sessions.
func (r *rig) testShortStandardConnections(t *testing.T) {
	t.Helper()
	r.each(t, 60, 30, func(ctx context.Context, i int) error {
		conn, err := r.dial(ctx, lab.ShootPod(lab.DualStack.Each()[i%2], 1+i%lab.PodAddresses), target.SpeakFirstPort)
		if err != nil {
			return err
		}
		defer conn.Close()
		got, err := io.ReadAll(conn)
		if err != nil || string(got) != target.Banner {
			return fmt.Errorf("got %q and %v, want the whole banner and a clean end", got, err)
		}
		return nil
	})
	if failed := increases("proxy_client_dial_failures_total", nil, r.metrics(t)); len(failed) != 0 {
		t.Errorf("dials failed: %v", failed)
	}
}

// wantStalledAppKept expects that an app which does not read gets its bytes later.
func (r *rig) wantStalledAppKept(t *testing.T) {
	t.Helper()
	const rounds, held, later = 500, 512 << 10, 24 << 20
	r.idle(t)
	before := r.metrics(t)
	p := startPulse(t, r.asApp)
	stalled := startStalled(t, r.asApp)
	ctx := labtest.Context(t, hang)
	for began := p.rounds(); p.rounds() < began+rounds; {
		if err := p.awaitRound(ctx); err != nil {
			t.Fatalf("beside an app that does not read: %v", err)
		}
	}
	after := r.metrics(t)
	if buffered := after.Sum("proxy_client_buffered_bytes"); buffered > held {
		t.Errorf("%.0f bytes are held for the app", buffered)
	}
	if closed := increases("proxy_client_close_total", before, after); len(closed) != 0 {
		t.Errorf("connections have ended: %v", closed)
	}
	p.wantAlive(t, "an app that does not read")
	answer, err := http.ReadResponse(bufio.NewReader(stalled), nil)
	if err != nil {
		t.Fatalf("the app that did not read, and then did: %v", err)
	}
	got := target.NewPatternWriter()
	if n, err := io.CopyN(got, answer.Body, later); err != nil { // more than any buffer on the way
		t.Errorf("the app that did not read got %d bytes, and then %v", n, err)
	}
	_ = stalled.Close()
}

// wantHalfClose expects that a target which answers only after it has seen the app's end is
// served if the proxy carries that end, and that the app gets a reset otherwise.
func (r *rig) wantHalfClose(t *testing.T, carried bool) {
	t.Helper()
	r.idle(t)
	before := r.metrics(t)
	conn, err := r.dial(labtest.Context(t, hang), lab.ShootPod(lab.IPv4, 1), target.AfterEOFPort)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, sent := io.WriteString(conn, "hello")
	if err := errors.Join(sent, conn.CloseWrite()); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if !carried {
		if len(got) != 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the app got %q and %v, want a reset", got, err)
		}
		r.wantCounted(t, "proxy_client_close_total", before, "half_close_unsupported")
		return
	}
	if err != nil || string(got) != "got 5 bytes and EOF\n" {
		t.Errorf("the app got %q and %v, want the target's answer", got, err)
	}
}

// wantResetLost expects a proxy to pass an app's reset on as an end, although it gets a reset
// itself (TestAnAbortIsNoEnd).
func (r *rig) wantResetLost(t *testing.T) {
	t.Helper()
	r.idle(t)
	if err := r.resetUpload(t); err != nil {
		t.Errorf("the app reset its upload and the target saw %v: docs/proxies.md says that it sees a clean end", err)
	}
}

// wantRefusal expects a dial of a port to fail for a reason, and before its budget ends:
// the proxies keep the connection open behind their answer.
func (r *rig) wantRefusal(t *testing.T, port int, reason string) {
	t.Helper()
	before := r.metrics(t)
	r.wantReset(t, lab.ShootPod(lab.IPv4, 1), port, hang)
	r.wantCounted(t, "proxy_client_dial_failures_total", before, reason)
	failures, err := document[status.Failures](labtest.Context(t, hang), r, "/failures")
	if err != nil || len(failures.Failures) == 0 {
		t.Fatalf("the status has no failure: %v", err)
	}
	newest := failures.Failures[0]
	if newest.Reason != reason || newest.Fault != status.FaultTarget || newest.Cure == "" || strings.Contains(newest.Error+newest.Cure, "agent") {
		t.Errorf("the failure is %+v, want %s, and no word about agents", newest, reason)
	}
}

// wantSilentTarget expects a dial of a target that does not answer to time out, and the
// proxy to stay in good standing.
func (r *rig) wantSilentTarget(t *testing.T) {
	t.Helper()
	before := r.metrics(t)
	r.wantReset(t, lab.BlackHole(lab.IPv4), target.EchoPort, hang)
	r.wantCounted(t, "proxy_client_dial_failures_total", before, "timeout")
	if failed := increases("proxy_client_server_failures_total", before, r.metrics(t)); len(failed) != 0 {
		t.Errorf("the proxy is blamed for a target that does not answer: %v", failed)
	}
}

// wantKnown expects the status and a check to know what the server is.
func (r *rig) wantKnown(t *testing.T, software string) {
	t.Helper()
	servers, err := document[status.Servers](labtest.Context(t, hang), r, "/servers")
	if err != nil || len(servers.Servers) != 1 {
		t.Fatalf("%v, %+v", err, servers)
	}
	is := servers.Servers[0]
	if is.Speaks != "https-proxy" || !is.Up || is.Endpoints[0].State != status.EndpointGood {
		t.Errorf("the server is %+v, want a standard proxy in good standing", is)
	}
	report := r.check(t, fmt.Sprintf("%s:%d", lab.ShootPod(lab.IPv4, 1), target.HTTPPort))
	mode := report.step(t, "mode")
	if report.ExitCode != 0 || mode.Mode != "https-proxy" || !strings.Contains(mode.Found, software) || strings.Contains(report.String(), "agent answers") {
		t.Errorf("the check does not know what the server is:\n%s", report)
	}
	flags := r.ProxyClientCommand("--proxy-server="+r.ConnectProxyAddress(), "--mode=http-connect").Args
	mode = r.check(t, flags...).step(t, "mode")
	if mode.Result != "warning" || !strings.Contains(mode.Next, "--mode=https-proxy") {
		t.Errorf("the check of another mode does not name the right one: %+v", mode)
	}
}
