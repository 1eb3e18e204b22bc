// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
)

// atOnce starts one process for each command line, all before the first ends. It returns
// their outcomes in the same order.
func atOnce(t *testing.T, command func(args ...string) *exec.Cmd, lines ...[]string) []outcome {
	t.Helper()
	var all []*exec.Cmd
	for _, line := range lines {
		cmd := command(line...)
		cmd.Stdout, cmd.Stderr = new(bytes.Buffer), new(bytes.Buffer)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	var outcomes []outcome
	for _, cmd := range all {
		_ = cmd.Wait() // the exit code tells
		outcomes = append(outcomes, outcome{
			code:   cmd.ProcessState.ExitCode(),
			stdout: cmd.Stdout.(*bytes.Buffer).String(),
			stderr: cmd.Stderr.(*bytes.Buffer).String(),
		})
	}
	return outcomes
}

// jumps counts the jumps to our chains in OUTPUT, by program and table.
func jumps(t *testing.T, pod *netnstest.NS) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, program := range []string{"iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"} {
		table := ""
		for line := range strings.Lines(pod.Run(t, program+"-save")) {
			if name, ok := strings.CutPrefix(line, "*"); ok {
				table = strings.TrimSpace(name)
			}
			if strings.HasPrefix(line, "-A OUTPUT") && strings.Contains(line, "PROXY_CLIENT") {
				found[program+" "+table]++
			}
			if strings.Contains(line, "PROXY_CLIENT_PROBE") {
				t.Errorf("%s: a probe of the kernel was left behind: %s", program, line)
			}
		}
	}
	return found
}

// once returns what jumps has to return if the rules of both families are in one backend and
// not in the other.
func once(backend string) map[string]int {
	return map[string]int{
		"iptables-" + backend + " nat": 1, "iptables-" + backend + " filter": 1,
		"ip6tables-" + backend + " nat": 1, "ip6tables-" + backend + " filter": 1,
	}
}

func repeat(n int, line ...string) [][]string {
	var lines [][]string
	for range n {
		lines = append(lines, line)
	}
	return lines
}

func TestConcurrentAppliesAgree(t *testing.T) {
	netnstest.RequireRoot(t)
	binary := build(t)
	flags := []string{"--shoot-pod-cidr=100.64.0.0/12,fd00:10::/48"}
	for _, test := range []struct {
		name, want string
		processes  int
		line       []string
		elsewhere  bool // outside of the pod, by --netns
	}{
		{"four", "nft", 4, flags, false},
		{"eight", "nft", 8, flags, false},
		{"four by --netns", "nft", 4, flags, true},
		{"four in legacy", "legacy", 4, append([]string{"--iptables=legacy"}, flags...), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := newPod(t, netnstest.IPv4, netnstest.IPv6)
			command := func(args ...string) *exec.Cmd { return pod.Command(binary, args...) }
			if test.elsewhere {
				command = func(args ...string) *exec.Cmd { return exec.Command(binary, append(args, "--netns="+pod.Path())...) }
			}
			for round := range 3 {
				for i, o := range atOnce(t, command, repeat(test.processes, test.line...)...) {
					if o.code != exitDone {
						t.Errorf("round %d, process %d: exit code %d: %s", round, i, o.code, o.stderr)
					}
				}
				if diff := cmp.Diff(once(test.want), jumps(t, pod)); diff != "" {
					t.Fatalf("round %d: jumps to our chains (-want +got):\n%s", round, diff)
				}
				pod.Run(t, binary, "clean")
			}
		})
	}
}

// TestOtherCommandsBesideApply: a command that reads the rules never sees half of a change, and
// neither does clean.
func TestOtherCommandsBesideApply(t *testing.T) {
	pod := newPod(t, netnstest.IPv4, netnstest.IPv6)
	binary := build(t)
	command := func(args ...string) *exec.Cmd { return pod.Command(binary, args...) }
	shoot := "--shoot-pod-cidr=100.64.0.0/12,fd00:10::/48"
	verify, dump, plan := []string{"verify", shoot}, []string{"dump", "--output=json"}, []string{"plan", shoot}
	count := func(verify, dump, plan outcome) [3]int {
		return [3]int{
			strings.Count(verify.stderr, "PROXY_CLIENT"), strings.Count(dump.stdout, `"rule": `), strings.Count(plan.stdout, "COMMIT"),
		}
	}
	alone := func() [3]int { // what each sees if nothing changes meanwhile
		var all []outcome
		for _, line := range [][]string{verify, dump, plan} {
			all = append(all, atOnce(t, command, line)...)
		}
		return count(all[0], all[1], all[2])
	}
	without := alone()
	pod.Run(t, binary, "apply", shoot)
	with := alone()
	pod.Run(t, binary, "clean")
	for round := range 4 {
		outcomes := atOnce(t, command, []string{"apply", shoot}, []string{"clean"}, verify, dump, []string{"apply", shoot}, []string{"clean"}, plan)
		for i, o := range outcomes {
			// Between a clean and an apply there are no rules, and verify says so.
			if o.code != exitDone && (i != 2 || o.code != exitNotVerified) {
				t.Errorf("round %d, process %d: exit code %d: %s", round, i, o.code, o.stderr)
			}
		}
		for i, got := range count(outcomes[2], outcomes[3], outcomes[6]) {
			if got != without[i] && got != with[i] {
				t.Errorf("round %d: %s saw half of a change: %d lines, want %d or %d", round, []string{"verify", "dump", "plan"}[i], got, without[i], with[i])
			}
		}
		pod.Run(t, binary, "apply", shoot)
		if diff := cmp.Diff(once("nft"), jumps(t, pod)); diff != "" {
			t.Fatalf("round %d: jumps to our chains (-want +got):\n%s", round, diff)
		}
		pod.Run(t, binary, "clean")
	}
}
