// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/cluster"
	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// TestMain runs the command itself if a test starts it.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == cluster.RunArgument {
		main()
	}
	os.Exit(m.Run())
}

// folder returns the folder of clusters of the test's own, which are gone after it.
func folder(t *testing.T) string {
	t.Helper()
	_, binaries, err := lab.FindBinaries()
	if err == nil {
		err = cluster.Available(binaries)
	}
	labtest.Require(t, err)
	dir := cluster.NewDir()
	t.Cleanup(func() {
		if err := cluster.Remove(context.Background(), dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	t.Cleanup(cancel)
	return ctx
}

func TestRunRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, args := range [][]string{nil, {"start"}, {"up", "now"}, {"run"}, {"run", "/tmp/elsewhere"}} {
		if err := run(within(t), args, io.Discard); err == nil {
			t.Errorf("arguments %q are taken", args)
		}
	}
}

// machine returns the state that clusters must not change. This is sysctls that a kubelet
// and kube-proxy write, the machine's routes and rules, and folders that the programs use
// by default.
func machine(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, command := range []string{
		"sysctl vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes net.ipv4.ip_forward net.netfilter.nf_conntrack_max kernel.hostname",
		"ip rule", "ip -4 route", "nft list tables", "iptables-legacy-save --table nat",
	} {
		words := strings.Fields(command)
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		fmt.Fprintf(&text, "%s: %v\n%s", command, err, withoutTimes(string(out)))
	}
	for _, path := range []string{
		"/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/var/lib/etcd", "/var/log/pods", "/var/log/containers", "/run/containerd",
		"/run/nri", "/opt/cni", "/opt/containerd", "/opt/nri", "/etc/cni", "/etc/kubernetes", "/usr/libexec/kubernetes",
	} {
		_, err := os.Lstat(path)
		fmt.Fprintf(&text, "%s is there: %t\n", path, err == nil)
	}
	return text.String()
}

// withoutTimes removes the comments of iptables-save.
func withoutTimes(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func TestUpAndDown(t *testing.T) {
	dir := folder(t)
	before := machine(t)
	var out bytes.Buffer
	if err := up(within(t), dir, &out); err != nil {
		t.Fatal(err)
	}
	state, err := cluster.LoadState(filepath.Join(dir, "seed.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	checkWhatIsTold(t, state, out.String())
	var again bytes.Buffer
	if err := up(within(t), dir, &again); err != nil {
		t.Errorf("a second start of clusters that stand: %v", err)
	}
	if first, second := withoutGreeting(out.String()), withoutGreeting(again.String()); first != second || again.String() == out.String() {
		t.Errorf("up of clusters that stand tells something else (-first +second), or does not say that they stood:\n%s", cmp.Diff(first, second))
	}
	for name, kubeconfig := range map[string]string{"seed": state.SeedKubeconfig, "shoot": state.ShootKubeconfig} {
		kubectl := exec.Command(filepath.Join(state.Binaries, "kube", "kubectl"), "--kubeconfig", kubeconfig, "get", "nodes", "--output=name")
		if out, err := kubectl.CombinedOutput(); err != nil || string(out) != "node/"+name+"\n" {
			t.Errorf("kubectl finds the nodes %q, %v", out, err)
		}
	}
	if diff := cmp.Diff(before, machine(t)); diff != "" {
		t.Errorf("the clusters change the machine:\n%s", diff)
	}
	networks := map[string]bool{}
	for _, pid := range []int{state.Seed.PID, state.Shoot.PID} {
		network, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			t.Fatal(err)
		}
		networks[network] = true
	}
	for _, want := range []string{"the clusters are gone\n", "no clusters of this repository stand\n"} { // it is no mistake to do it twice
		var said bytes.Buffer
		if err := down(within(t), dir, &said); err != nil || said.String() != want {
			t.Errorf("down says %q, error %v, want %q", said.String(), err, want)
		}
	}
	nothingLeft(t, dir, before, networks)
}

// nothingLeft looks for what clusters could leave: processes, mounts, cgroup folders and
// files. It also checks the given network namespaces with their interfaces, and changes
// of the machine.
func nothingLeft(t *testing.T, dir, before string, networks map[string]bool) {
	t.Helper()
	if left := cluster.Leftovers(dir); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	if diff := cmp.Diff(before, machine(t)); diff != "" {
		t.Errorf("the machine is not what it was:\n%s", diff)
	}
	for _, pattern := range []string{"/proc/[0-9]*/ns/net", "/proc/[0-9]*/fd/*"} {
		links, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links {
			if to, err := os.Readlink(link); err == nil && networks[to] {
				t.Errorf("a network namespace is held by %s", link)
			}
		}
	}
}

// TestDownAfterAKilledStart kills the program that owns the clusters at several moments
// of their start, as a person or the kernel may. It expects that down finds everything.
func TestDownAfterAKilledStart(t *testing.T) {
	for name, moment := range map[string]string{
		"at the first folder":        "",
		"while nodes start":          "seed/logs/containerd.log",
		"while the seed starts":      "seed/logs/kube-apiserver.log",
		"while the shoot's pods run": "shoot/logs/kubelet.log",
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			before := machine(t)
			owner := exec.Command(os.Args[0], cluster.RunArgument, dir)
			owner.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := owner.Start(); err != nil {
				t.Fatal(err)
			}
			err := lab.Poll(within(t), "the moment", func(context.Context) error {
				_, err := os.Stat(filepath.Join(dir, moment))
				return err
			})
			_ = owner.Process.Kill() // it may have ended, which shows in the error
			_ = owner.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if err := down(within(t), dir, io.Discard); err != nil {
				t.Error(err)
			}
			nothingLeft(t, dir, before, nil)
		})
	}
}

// TestDownNeedsNoRemover also kills the processes that remove what a killed program
// leaves.
func TestDownNeedsNoRemover(t *testing.T) {
	dir := folder(t)
	before := machine(t)
	owner := exec.Command(os.Args[0], cluster.RunArgument, dir)
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	err := lab.Poll(within(t), "the seed's node", func(context.Context) error {
		_, err := os.Stat(filepath.Join(dir, "seed/logs/containerd.log"))
		return err
	})
	if err != nil {
		t.Error(err)
	}
	// A stopped owner starts no more children. Its children are the removers and the
	// nodes.
	if err := owner.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Error(err)
	}
	for _, pid := range childrenOf(t, owner.Process.Pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
	_ = owner.Process.Kill()
	_ = owner.Wait()
	if left := cluster.Leftovers(dir); len(left) == 0 {
		t.Error("nothing is left to be removed: the test proves nothing")
	}
	if err := down(within(t), dir, io.Discard); err != nil {
		t.Error(err)
	}
	nothingLeft(t, dir, before, nil)
}

// TestInterruptedUpLeavesNothing ends up as ^C does.
func TestInterruptedUpLeavesNothing(t *testing.T) {
	dir := folder(t)
	before := machine(t)
	ctx, interrupt := context.WithCancelCause(within(t))
	defer interrupt(nil)
	reason := errors.New("interrupted")
	go func() {
		_ = lab.Poll(ctx, "the seed's node", func(context.Context) error { // up reports it if it ended
			_, err := os.Stat(filepath.Join(dir, "seed/logs/containerd.log"))
			return err
		})
		interrupt(reason)
	}()
	if err := up(ctx, dir, io.Discard); !errors.Is(err, reason) {
		t.Errorf("up gives %v, want that it was interrupted", err)
	}
	nothingLeft(t, dir, before, nil)
}

// childrenOf returns the ids of a process's children, of all its threads.
func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var children []int
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread may have ended
		for _, word := range strings.Fields(string(text)) {
			var child int
			if _, err := fmt.Sscan(word, &child); err != nil {
				t.Fatal(err)
			}
			children = append(children, child)
		}
	}
	return children
}
