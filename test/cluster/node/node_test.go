// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/cluster"
	"github.com/shoot-proxy/proxy-client/test/cluster/node"
	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// config returns the configuration of a node in a folder of its own, which the test
// removes.
func config(t *testing.T) node.Config {
	t.Helper()
	_, binaries, err := lab.FindBinaries()
	if err == nil {
		err = cluster.Available(binaries)
	}
	labtest.Require(t, err)
	dir := os.Getenv(victim)
	if dir == "" {
		dir = cluster.NewDir()
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	return node.Config{
		Name: "seed", Parent: dir, Cgroup: filepath.Base(dir) + "-seed", Binaries: binaries, Sandbox: "registry.example/test/none",
		Address: netip.MustParseAddr("10.241.255.1"), Pods: netip.MustParsePrefix("10.241.0.0/24"), Services: netip.MustParsePrefix("10.242.0.0/24"),
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// nothingLeft returns what a node has left on the machine in the folder, and of its
// network namespace. The folder itself may exist.
func nothingLeft(dir, network string) error {
	var left []string
	for _, what := range cluster.Leftovers(dir) {
		if what != "folder "+dir {
			left = append(left, what)
		}
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) != 0 {
		left = append(left, "file "+entries[0].Name())
	}
	for _, pattern := range []string{"/proc/[0-9]*/ns/net", "/proc/[0-9]*/fd/*"} {
		links, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, link := range links {
			if to, err := os.Readlink(link); err == nil && to == network { // it has ended, or is in another namespace
				left = append(left, link)
			}
		}
	}
	if len(left) != 0 {
		return fmt.Errorf("left: %s", strings.Join(left, "; "))
	}
	return nil
}

func networkOf(t *testing.T, pid int) string {
	t.Helper()
	network, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	return network
}

func TestStartThatFailsLeavesNothing(t *testing.T) {
	c := config(t)
	c.Binaries = t.TempDir() // without containerd
	ctx, giveUp := context.WithCancel(within(t))
	defer giveUp()
	go func() { // a node retries to start its programs for ever
		defer giveUp()
		_ = lab.Poll(ctx, "the node's complaint", func(context.Context) error { // if this fails, Start has ended
			log, err := os.ReadFile(filepath.Join(c.Parent, c.Name, "logs", "containerd.log"))
			if err == nil && !strings.Contains(string(log), "ended with") {
				err = errors.New("none yet")
			}
			return err
		})
	}()
	n, err := node.Start(ctx, c)
	if err == nil {
		t.Fatal(errors.Join(errors.New("a node starts without containerd"), n.Close()))
	}
	if !strings.Contains(err.Error(), "/run/bin/node/containerd: not found") {
		t.Errorf("the error does not tell what is wrong: %v", err)
	}
	if err := nothingLeft(c.Parent, ""); err != nil {
		t.Error(err)
	}
}

// TestNode: a node has its own network, processes, folders and name, and keeps its
// programs running. It is gone after Abandon, which keeps its logs.
func TestNode(t *testing.T) {
	c := config(t)
	c.FailureLogs = filepath.Join(t.TempDir(), "logs")
	ctx := within(t)
	n, err := node.Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	network := networkOf(t, n.PID)

	for command, want := range map[string]string{
		"hostname":                            "seed",
		"cat /proc/sys/vm/overcommit_memory":  "1",
		"cat /proc/sys/kernel/panic_on_oops":  "1",
		"ls /var/lib":                         "containerd",
		"ip -4 -brief address show dev node0": "node0            UNKNOWN        10.241.255.1/32",
	} {
		out, err := n.Run(ctx, strings.Fields(command)...)
		if err != nil || strings.TrimSpace(out) != want {
			t.Errorf("%s gives %q, %v, want %q", command, out, err, want)
		}
	}

	version := func(ctx context.Context) error { _, err := n.Run(ctx, "ctr", "--timeout=2s", "version"); return err }
	if err := n.Hold(ctx, "containerd"); err != nil {
		t.Fatal(err)
	}
	err = n.WaitFor(ctx, "containerd", "its end", func(ctx context.Context) error {
		if err := version(ctx); err == nil {
			return errors.New("it answers")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := n.Release("containerd"); err != nil {
		t.Fatal(err)
	}
	if err := n.WaitFor(ctx, "containerd", "its next start", version); err != nil {
		t.Error(err)
	}

	// The logs of a pod are in memory. They are kept beside those of programs.
	if _, err := n.Run(ctx, "sh", "-c", "mkdir -p /var/log/pods/mine/app && echo hello >/var/log/pods/mine/app/0.log"); err != nil {
		t.Fatal(err)
	}
	failure := errors.New("failure")
	if err := n.Abandon(failure); !errors.Is(err, failure) || err.Error() != failure.Error() {
		t.Errorf("the node is abandoned because of %v, and says %v", failure, err)
	}
	for file, want := range map[string]string{"containerd.log": "node: containerd ended with", "pods/mine/app/0.log": "hello\n"} {
		text, err := os.ReadFile(filepath.Join(c.FailureLogs, "seed", file))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("the log %s does not have %q: %v\n%s", file, want, err, text)
		}
	}
	if err := nothingLeft(c.Parent, network); err != nil {
		t.Error(err)
	}
}

// victim is an environment variable. If it is set, a test is the program that is killed.
// It holds the folder for the node.
const victim = "NODE_TEST_VICTIM"

func TestNodeOfAKilledProgramLeavesNothing(t *testing.T) {
	c := config(t)
	if os.Getenv(victim) != "" {
		n, err := node.Start(within(t), c)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("started", n.PID)
		select {} // until it is killed
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), victim+"="+c.Parent)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	pid := 0
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if number, found := strings.CutPrefix(lines.Text(), "started "); found {
			if pid, err = strconv.Atoi(number); err != nil {
				t.Error(err)
			}
		}
	}
	network := ""
	if pid != 0 {
		network = networkOf(t, pid)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	if pid == 0 {
		t.Fatalf("the victim did not start its node:\n%s", said.String())
	}
	err = lab.Poll(within(t), "everything of the node to go", func(context.Context) error { return nothingLeft(c.Parent, network) })
	if err != nil {
		t.Error(err)
	}
}
