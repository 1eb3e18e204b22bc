// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestAnExitThatIsRequired: with --exit-policy=require, connections are reset while the exit
// is gone, with the reason in the log. /readyz and the check name the exit. All is well again
// when it is back.
func TestAnExitThatIsRequired(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newExitRig(t, lab.Options{Mode: mode}, "--exit-policy=require", "--dial-timeout=2s")
		pod := net.JoinHostPort(lab.ShootPod(lab.IPv4, 1).String(), fmt.Sprint(target.HTTPPort))
		report := r.check(t, pod)
		dial := report.step(t, "dial")
		if exit := report.step(t, "exit"); exit.Result != "ok" || !strings.Contains(exit.Found, "it knows this client as") || dial.Result != "ok" || !strings.Contains(dial.Found, "through exit ") || report.Result != "ok" {
			t.Errorf("all works, and the check says:\n%s", report)
		}
		r.Exits[0].Kill()
		eventually(t, "/readyz to name the exit", func(ctx context.Context) error {
			text, err := r.notReady(ctx)
			if err == nil && !strings.Contains(text, "no exit answers") {
				err = fmt.Errorf("it says %q", text)
			}
			return err
		})
		r.wantReset(t, lab.ShootPod(lab.IPv4, 1), target.SpeakFirstPort, 20*time.Second)
		r.wantLogged(t, map[string]int{`"msg":"connection not made"`: 1, `"reason":"exit_unreachable"`: 2, "no exit answers; new connections fail": 1})
		report = r.check(t, pod)
		if exit := report.step(t, "exit"); exit.Result != "failure" || exit.Cause != "exit_unreachable" || exit.Next == "" || !strings.Contains(report.Verdict, "exit") {
			t.Errorf("the exit is gone, and the check says:\n%s", report)
		}
		if err := r.Exits[0].Start(labtest.Context(t, hang)); err != nil {
			t.Fatal(err)
		}
		r.wantServes(t)
	})
}
