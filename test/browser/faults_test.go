// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestRealFaults follows faults of agent and server on the page: each is the headline
// while it lasts, alone, and no longer than that.
func TestRealFaults(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if _, err := r.InitRedirect(labtest.Context(t, hang), "apply"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.StartProxyClient(labtest.Context(t, hang), "--dial-timeout=2s"); err != nil {
		t.Fatal(err)
	}
	p := r.open(t, adminAddress, desktop)
	p.says("#verdict", "All well")

	must(t, r.Agents[0].Freeze())
	r.connectUntil(p, target.EchoPort, "or its agent does not answer. ")
	wantOnly(t, p, "bad", "No connection can be made: the proxy-server "+r.Frontend()+" or its agent does not answer.", "look at the agent in the shoot")
	must(t, r.Agents[0].Thaw())
	r.connectUntil(p, target.EchoPort, "All well")

	r.Agents[0].Kill()
	r.connectUntil(p, target.EchoPort, " has no agent. ")
	wantOnly(t, p, "bad", "No connection can be made: the proxy-server "+r.Frontend()+" has no agent.", "look at the agent's log")

	must(t, r.Servers[0].Freeze())
	r.connectUntil(p, target.EchoPort, "it accepts TCP connections, and does not answer the TLS handshake")
	wantOnly(t, p, "bad", "The proxy-server "+r.Frontend()+" cannot be used: it accepts TCP connections, and does not answer the TLS handshake.", "see whether the proxy-server hangs")
	r.Servers[0].Kill()
	r.connectUntil(p, target.EchoPort, "connection refused")
	wantOnly(t, p, "bad", "The proxy-server "+r.Frontend()+" cannot be used: dial tcp "+r.Frontend()+": connect: connection refused.", "check the address")

	must(t, r.StartServer(labtest.Context(t, hang)))
	must(t, r.Agents[0].Start())
	must(t, r.WaitTunnel(labtest.Context(t, hang)))
	r.connectUntil(p, target.EchoPort, "All well")
	r.connectUntil(p, target.ClosedPort, "failed with refused")
	if level := value[string](p, `document.querySelector("#verdict").dataset.level`); level != "warn" {
		t.Errorf("the verdict's level is %q; the target is the cause, so it must be warn", level)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// connectUntil is an app that connects to a port again and again, until the verdict has a
// text.
func (r *rig) connectUntil(p *page, port int, verdict string) {
	p.t.Helper()
	destination := net.JoinHostPort(lab.ShootPod(lab.IPv4, 1).String(), fmt.Sprint(port))
	ctx := labtest.Context(p.t, hang)
	for !value[bool](p, fmt.Sprintf(`document.querySelector("#verdict-text").innerText.includes(%q)`, verdict)) {
		if ctx.Err() != nil {
			p.t.Fatalf("the verdict is %q, want %q in it", value[string](p, `document.querySelector("#verdict").innerText`), verdict)
		}
		conn, err := r.Pod.DialContext(ctx, "tcp", destination)
		if err != nil {
			continue
		}
		// The redirect accepts every connection. Its end or its echo says what became of it.
		if _, err := conn.Write([]byte("?")); err == nil {
			_, _ = io.ReadFull(conn, make([]byte, 1))
		}
		conn.Close()
		value[any](p, "new Promise((done) => setTimeout(done, 100))")
	}
}

// wantOnly fails the test if the page has other findings than one.
func wantOnly(t *testing.T, p *page, level, what, next string) {
	t.Helper()
	got := value[[]string](p, `[document.querySelector("#verdict").dataset.level, document.querySelector("#verdict-text").innerText,
		...[...document.querySelectorAll("#findings > li")].map((finding) => finding.innerText)]`)
	if len(got) != 2 || got[0] != level || !strings.Contains(got[1], what) || !strings.Contains(strings.ToLower(got[1]), next) {
		t.Errorf("the verdict is %q, want nothing but level %s, %q and %q", got, level, what, next)
	}
}
