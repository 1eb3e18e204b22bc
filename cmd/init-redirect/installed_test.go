// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/pkg/redirect"
)

// TestVerifyAndDumpNeedNoFlags: a person in `kubectl debug` does not know the init container's
// flags.
func TestVerifyAndDumpNeedNoFlags(t *testing.T) {
	pod := newPod(t, netnstest.IPv4, netnstest.IPv6)
	if o := start(t, in(pod), "verify"); o.code != exitNotVerified || strings.Count(o.stderr, "\n") != 1 || !strings.Contains(o.stderr, "nothing of init-redirect stands") {
		t.Errorf("where nothing stands: exit code %d: %s", o.code, o.stderr)
	}
	apply := []string{"--shoot-pod-cidr=100.64.0.0/12,fd00:10::/48", "--exclude-port=22", "--proxy-port=14002", "--iptables=legacy"}
	if o := start(t, in(pod), apply...); o.code != exitDone {
		t.Fatalf("apply: exit code %d: %s", o.code, o.stderr)
	}
	o := start(t, in(pod), "verify", "--log-format=json")
	for _, want := range []string{`"shoot":["100.64.0.0/12","fd00:10::/48"]`, `"exclude_ports":["22"]`, `"proxy_port":14002`, `"backends":{"IPv4":"legacy","IPv6":"legacy"}`} {
		if o.code != exitDone || !strings.Contains(o.stderr, want) {
			t.Errorf("verify: exit code %d, and it lacks %s: %s", o.code, want, o.stderr)
		}
	}
	if table := start(t, in(pod), "dump").stdout; !strings.Contains(table, "The rules ask for: shoot CIDRs 100.64.0.0/12,fd00:10::/48; excluded CIDRs none; excluded ports 22;") {
		t.Errorf("dump does not say what the rules ask for:\n%s", table)
	}

	other := []string{"--shoot-pod-cidr=100.64.0.0/12", "--shoot-node-cidr=10.250.0.0/16", "--exclude-port=22"}
	difference := "shoot CIDRs: asked for 10.250.0.0/16,100.64.0.0/12, and the rules that stand have 100.64.0.0/12,fd00:10::/48"
	if o := start(t, in(pod), append([]string{"verify"}, other...)...); o.code != exitNotVerified || !strings.Contains(o.stderr, difference) {
		t.Errorf("verify with other flags: exit code %d, want both lists: %s", o.code, o.stderr)
	}
	if table := start(t, in(pod), append([]string{"dump"}, other...)...).stdout; !strings.Contains(table, "DIFFERENT: "+difference) {
		t.Errorf("dump with other flags does not show both lists:\n%s", table)
	}
	var report redirect.Report
	if err := json.Unmarshal([]byte(start(t, in(pod), append([]string{"dump", "--output=json"}, other...)...).stdout), &report); err != nil || len(report.Differences) != 2 || report.Asks == nil || report.Asks.ProxyPort != 14002 {
		t.Errorf("dump as JSON: %+v, %q, %v", report.Asks, report.Differences, err)
	}
	if o := start(t, in(pod), append([]string{"dump"}, append(apply, "--iptables=auto")...)...); strings.Contains(o.stdout, "DIFFERENT") {
		t.Errorf("dump with the init container's flags finds a difference:\n%s", o.stdout)
	}
}
