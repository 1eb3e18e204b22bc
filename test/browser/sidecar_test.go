// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// adminAddress is the default of --admin-address.
const adminAddress = "127.0.0.1:14000"

// TestRealSidecar follows what happens in a sidecar on its page: a connection, a failure,
// the end of the process and its next start, and a drain.
func TestRealSidecar(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if _, err := r.InitRedirect(labtest.Context(t, hang), "apply"); err != nil {
		t.Fatal(err)
	}
	sidecar, err := r.StartProxyClient(labtest.Context(t, hang))
	if err != nil {
		t.Fatal(err)
	}
	p := r.open(t, adminAddress, desktop)
	p.says("#verdict", "All well")
	p.says("#servers", "speaks gRPC")
	p.says("#redirect", "is redirected")
	p.says("#certificates", "/client.crt")
	p.says("#configuration", lab.PodCIDR(lab.IPv4))
	wantConnection(t, r, p)
	wantFailure(t, r, p)
	p.wantNoProblems()
	sidecar = wantRestart(t, r, p, sidecar)
	wantDrain(t, p, sidecar)
}

// wantConnection makes a connection, sends bytes, and finds both on the page.
func wantConnection(t *testing.T, r *rig, p *page) {
	t.Helper()
	destination := net.JoinHostPort(lab.ShootPod(lab.IPv4, 1).String(), fmt.Sprint(target.EchoPort))
	conn, err := r.Pod.DialContext(labtest.Context(t, hang), "tcp", destination)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p.do(`document.querySelector("#connections").scrollIntoView({ behavior: "instant" })`)
	row := fmt.Sprintf(`[...document.querySelectorAll(".rows .row:not([hidden])")].find((row) => row.innerText.includes(%q))`, destination)
	p.until(row)
	for _, sent := range []struct {
		bytes int
		shown string
	}{{3 << 10, "3.00 KiB"}, {5 << 10, "8.00 KiB"}} {
		if _, err := conn.Write(make([]byte, sent.bytes)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, sent.bytes)); err != nil {
			t.Fatal(err)
		}
		p.until(fmt.Sprintf(`%s?.querySelector(".received").innerText.includes(%q)`, row, sent.shown))
	}
	p.says("#figures", "1 of ")
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	p.says("#connections", "No connection is open")
}

// wantFailure makes a connection that cannot be made, and finds the cause and the cure.
func wantFailure(t *testing.T, r *rig, p *page) {
	t.Helper()
	destination := net.JoinHostPort(lab.ShootPod(lab.IPv4, 2).String(), fmt.Sprint(target.ClosedPort))
	conn, err := r.Pod.DialContext(labtest.Context(t, hang), "tcp", destination)
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
		conn.Close()
	}
	if err == nil {
		t.Fatalf("the closed port %s answered", destination)
	}
	p.says("#failures", destination)
	p.says("#failures .reason", "refused")
	p.says("#failures", "Look at the target; the tunnel works.")
	p.says("#verdict", "1 connection to "+destination+" failed with refused")
	if level := value[string](p, `document.querySelector("#verdict").dataset.level`); level != "warn" {
		t.Errorf("the verdict's level is %q; the target is the cause, so it must be warn", level)
	}
}

// wantRestart ends the sidecar as a crash does, and starts it again.
func wantRestart(t *testing.T, r *rig, p *page, sidecar *lab.Process) *lab.Process {
	t.Helper()
	sidecar.Kill()
	p.says("#verdict", "has not answered since")
	p.says("#verdict", "start it again")
	p.until(`document.body.classList.contains("stale")`)
	next, err := r.StartProxyClient(labtest.Context(t, hang))
	if err != nil {
		t.Fatal(err)
	}
	p.says("#verdict", "All well")
	p.says("#restart", "The sidecar was started again")
	p.says("#failures", "No connection has failed")
	p.until(`!document.body.classList.contains("stale")`)
	p.expect(refused)
	return next
}

// wantDrain drains the sidecar with the page's button. The sidecar that runs now has
// another token than the one that the page came from.
func wantDrain(t *testing.T, p *page, sidecar *lab.Process) {
	t.Helper()
	p.click("#drain-content > button")
	p.says("dialog[open]", "The process ends, and the kubelet starts the container again.")
	p.click("dialog .danger")
	p.says("#drain [role=status]", "The drain has begun.")
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	if code, err := sidecar.Wait(ctx); err != nil || code != 0 {
		t.Errorf("the drained sidecar ended with code %d, %v, want 0", code, err)
	}
	p.says("#verdict", "has not answered since")
	p.expect(refused)
	p.mayRefuse = true // the page goes on asking
}
