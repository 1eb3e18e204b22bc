// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/pkg/redirect"
)

// newPod returns a namespace with a default route, like that of every pod.
func newPod(t *testing.T, families ...netnstest.Family) *netnstest.NS {
	t.Helper()
	netnstest.RequireRoot(t)
	pod, router := netnstest.New(t), netnstest.New(t)
	netnstest.Connect(t, pod, router, families...)
	return pod
}

// everything returns the state of a pod that a refusal must not change.
func everything(t *testing.T, pod *netnstest.NS) string {
	t.Helper()
	var text strings.Builder
	for _, program := range []string{"iptables-nft-save", "iptables-legacy-save", "ip6tables-nft-save", "ip6tables-legacy-save"} {
		text.WriteString(program + "\n")
		for line := range strings.Lines(pod.Run(t, program, "-c")) {
			if !strings.HasPrefix(line, "#") { // the time of day
				text.WriteString(line)
			}
		}
	}
	for _, args := range []string{"-4 -br address", "-4 route", "-6 -br address show scope global"} {
		// Only standard output: to standard error ip complains about namespaces that
		// other tests delete meanwhile.
		out, err := pod.Command("ip", strings.Fields(args)...).Output()
		if err != nil {
			t.Fatalf("ip %s: %v", args, err)
		}
		text.Write(out)
	}
	return text.String()
}

func in(pod *netnstest.NS) map[string]string {
	return map[string]string{"INIT_REDIRECT_NETNS": pod.Path()}
}

func TestBadInputChangesNothing(t *testing.T) {
	pod := newPod(t, netnstest.IPv4, netnstest.IPv6)
	before := everything(t, pod)
	tests := badInput()
	for _, collision := range []struct{ name, arg, address string }{
		{"the pod's own address", "--shoot-node-cidr=10.0.0.0/8", "10.99.0.2"},
		{"the pod's own IPv6 address", "--shoot-service-cidr=fdcc::/16", "fdcc:99::2"},
		{"the pod's gateway", "--shoot-pod-cidr=10.99.0.1/32", "10.99.0.1"},
	} {
		flag, value, _ := strings.Cut(collision.arg, "=")
		for _, command := range []string{"apply", "verify", "plan"} {
			test := tests[0]
			test.name = collision.name + ", " + command
			test.args = []string{command, "--shoot-pod-cidr=100.64.0.0/12", collision.arg}
			test.mention = []string{flag, value, collision.address}
			tests = append(tests, test)
		}
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			start(t, in(pod), test.args...).refused(t, test.mention)
			if diff := cmp.Diff(before, everything(t, pod)); diff != "" {
				t.Errorf("refused, and yet it changed the pod (-before +after):\n%s", diff)
			}
		})
	}
}

func TestCommandsInAPod(t *testing.T) {
	pod := newPod(t, netnstest.IPv4)
	flags := []string{"--shoot-pod-cidr=100.64.0.0/12,fd00:10::/48", "--exclude-port=22"}
	do := func(command string, want int, more ...string) outcome {
		t.Helper()
		args := more
		if command != "" {
			args = append([]string{command}, more...)
		}
		o := start(t, in(pod), args...)
		if o.code != want {
			t.Fatalf("init-redirect %q: exit code %d, want %d\n%s%s", args, o.code, want, o.stdout, o.stderr)
		}
		if want != exitDone {
			o.checkLastWords(t)
		}
		return o
	}
	do("verify", exitNotVerified, flags...)
	plan := do("plan", exitDone, flags...)
	for _, want := range []string{"*nat", ":PROXY_CLIENT_GUARD - [0:0]", "-d fd00:10::/48", "# then: ip address add"} {
		if !strings.Contains(plan.stdout, want) {
			t.Errorf("the plan lacks %q:\n%s", want, plan.stdout)
		}
	}
	do("verify", exitNotVerified, flags...) // plan changed nothing
	do("", exitDone, flags...)              // apply is the default
	do("verify", exitDone, flags...)
	do("apply", exitDone, flags...)
	if again := do("plan", exitDone, flags...); strings.Contains(again.stdout, "COMMIT") {
		t.Errorf("the plan is not empty after apply:\n%s", again.stdout)
	}

	var report redirect.Report
	if err := json.Unmarshal([]byte(do("dump", exitDone, "--output=json").stdout), &report); err != nil || len(report.Rules) == 0 {
		t.Errorf("dump as JSON: %v, %d rules", err, len(report.Rules))
	}
	if table := do("dump", exitDone).stdout; !strings.Contains(table, "PROXY_CLIENT_REDIRECT") || !strings.Contains(table, "checks of the redirect itself") {
		t.Errorf("dump lacks our rules, or the count of the probes:\n%s", table)
	}

	pod.Run(t, "iptables-nft", "-w", "-t", "nat", "-F", "PROXY_CLIENT_OUTPUT")
	if o := do("verify", exitNotVerified, flags...); !strings.Contains(o.stderr, "PROXY_CLIENT_OUTPUT") {
		t.Errorf("verify does not name the chain: %s", o.stderr)
	}
	do("apply", exitDone, flags...)
	do("clean", exitDone, "--drain")
	do("verify", exitNotVerified, flags...)
	do("clean", exitDone)
	if o := do("clean", exitDone); !strings.Contains(o.stderr, "nothing to remove") {
		t.Errorf("clean where there is nothing: %s", o.stderr)
	}
	if table := do("dump", exitDone).stdout; strings.Contains(table, "PROXY_CLIENT") {
		t.Errorf("dump after clean:\n%s", table)
	}
}

// build builds the program, for tests that need a process of its own. The flags are the
// Makefile's, so that the packages are compiled once for both.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "init-redirect")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags=-s -w", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

func TestWhatTheKernelDoesNotAllow(t *testing.T) {
	pod := newPod(t, netnstest.IPv4)
	binary := build(t)
	empty := t.TempDir()
	before := everything(t, pod)
	flags := "--shoot-pod-cidr=100.64.0.0/12"
	for _, test := range []struct {
		name, command string
		mention       []string
	}{
		{"without NET_ADMIN", "exec capsh --drop=cap_net_admin -- -c '" + binary + " " + flags + "'", []string{"NET_ADMIN"}},
		{"without NET_ADMIN, legacy", "exec capsh --drop=cap_net_admin -- -c '" + binary + " --iptables legacy " + flags + "'", []string{"NET_ADMIN"}},
		{"without NET_RAW, legacy", "exec capsh --drop=cap_net_raw -- -c '" + binary + " --iptables legacy " + flags + "'", []string{"NET_RAW", "--iptables nft"}},
		{"without NET_ADMIN, dump", "exec capsh --drop=cap_net_admin -- -c '" + binary + " dump'", []string{"NET_ADMIN"}},
		{"without NET_ADMIN, clean", "exec capsh --drop=cap_net_admin -- -c '" + binary + " clean'", []string{"NET_ADMIN"}},
		{"as a user", "exec setpriv --reuid=1000 --regid=1000 --clear-groups " + binary + " " + flags, []string{"NET_ADMIN"}},
		{"without iptables", "PATH=" + empty + " exec " + binary + " " + flags, []string{"iptables", "Debian", "PATH"}},
		{"without iptables, dump", "PATH=" + empty + " exec " + binary + " dump", []string{"iptables", "Debian"}},
		{"without ip6tables", "PATH=" + onlyIPv4(t) + " exec " + binary + " --shoot-pod-cidr=fd00:10::/48," + "100.64.0.0/12", []string{"ip6tables", "Debian"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := os.Chmod(filepath.Dir(binary), 0o755); err != nil { // for the user
				t.Fatal(err)
			}
			cmd := pod.Command("sh", "-c", test.command)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			_ = cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != exitNotAllowed || strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("exit code %d, want 3 and one sentence; stdout %q, stderr %q", code, stdout.String(), stderr.String())
			}
			for _, word := range test.mention {
				if !strings.Contains(stderr.String(), word) {
					t.Errorf("the sentence does not mention %s: %s", word, stderr.String())
				}
			}
			if diff := cmp.Diff(before, everything(t, pod)); diff != "" {
				t.Errorf("not allowed, and yet it changed the pod (-before +after):\n%s", diff)
			}
		})
	}
}

// onlyIPv4 returns a folder with iptables and without ip6tables.
func onlyIPv4(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"iptables-nft", "iptables-nft-restore", "iptables-legacy", "iptables-legacy-restore"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestIPv6DisabledIsExitCode3(t *testing.T) {
	pod := newPod(t, netnstest.IPv4)
	pod.Run(t, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
	o := start(t, in(pod), "--shoot-pod-cidr=fd00:10::/48")
	if o.code != exitNotAllowed || !strings.Contains(o.stderr, "IPv6 is disabled") {
		t.Errorf("exit code %d, want 3 and why: %s", o.code, o.stderr)
	}
	if o := start(t, in(pod), "--shoot-pod-cidr=100.64.0.0/12"); o.code != exitDone {
		t.Errorf("an IPv4 shoot: exit code %d: %s", o.code, o.stderr)
	}
}

func TestPlanWorksWithoutAPod(t *testing.T) {
	netnstest.RequireRoot(t)
	binary := build(t)
	pod := newPod(t, netnstest.IPv4)
	cmd := pod.Command("sh", "-c", "exec capsh --drop=cap_net_admin -- -c '"+binary+" plan --shoot-pod-cidr=100.64.0.0/12'")
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), "-d 100.64.0.0/12 -p tcp -j PROXY_CLIENT_REDIRECT") {
		t.Errorf("plan without capabilities: %v\n%s", err, out)
	}
}
