// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// memoryGroup is a cgroup with a memory limit, of either version of cgroups.
type memoryGroup struct {
	folder             string
	limit, peak, kills string // names of files
}

// newMemoryGroup makes a group, which is removed after the test. Make it before the lab, so
// that its processes have ended by then.
func newMemoryGroup(t *testing.T, bytes int) *memoryGroup {
	t.Helper()
	labtest.RequireRoot(t)
	name := fmt.Sprintf("proxy-client-test-%d", os.Getpid())
	g := &memoryGroup{filepath.Join("/sys/fs/cgroup/memory", name), "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		g = &memoryGroup{filepath.Join("/sys/fs/cgroup", name), "memory.max", "memory.peak", "memory.events"}
	}
	labtest.Require(t, os.Mkdir(g.folder, 0o755))
	t.Cleanup(func() {
		if err := os.Remove(g.folder); err != nil {
			t.Error(err)
		}
	})
	_, err := os.Stat(filepath.Join(g.folder, g.peak))
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("cgroups of this machine do not limit memory: %w", err)
	}
	labtest.Require(t, err)
	if err := os.WriteFile(filepath.Join(g.folder, g.limit), []byte(strconv.Itoa(bytes)), 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

// in returns the command, to be started in the group.
func (g *memoryGroup) in(c lab.Command) lab.Command {
	uid := strconv.FormatUint(uint64(c.UID), 10)
	inside := []string{"-c", `echo $$ >"$0/cgroup.procs" && exec setpriv --reuid="$1" --regid="$1" --clear-groups -- "${@:2}"`, g.folder, uid, c.Path}
	c.Path, c.Args, c.UID = "bash", append(inside, c.Args...), 0
	return c
}

// peakMiB returns how much memory the group has had at most.
func (g *memoryGroup) peakMiB(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.folder, g.peak))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return n >> 20
}

// killed reports whether the kernel has killed a process of the group for lack of memory.
func (g *memoryGroup) killed(t *testing.T) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.folder, g.kills))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if n, found := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); found {
			return n != "0"
		}
	}
	t.Fatalf("%s does not count kills:\n%s", g.kills, text)
	return false
}

// TestCheckFitsBesideFullBuffers: the kubelet runs the check in the sidecar's container. Both
// together stay within the memory that the webhook gives it by default, although apps that
// do not read fill the default buffers. Within 300 MiB they do not: there the kernel kills
// the sidecar.
func TestCheckFitsBesideFullBuffers(t *testing.T) {
	t.Parallel()
	const (
		limit = 512 << 20 // of the webhook, for a --total-buffer of 256 MiB
		total = 256 << 20
	)
	g := newMemoryGroup(t, limit)
	r := newBareRig(t, lab.Options{})
	r.apply(t)
	command := r.ProxyClientCommand()
	command.Env = append(command.Env, "GOMEMLIMIT=460MiB")
	var err error
	if r.sidecar, err = r.StartSidecar(labtest.Context(t, hang), g.in(command)); err != nil {
		t.Fatal(err)
	}
	r.fillBuffers(t, total)
	before := g.peakMiB(t)
	if before < total>>20 {
		t.Fatalf("the sidecar holds %d MiB for apps, and its group has had only %d MiB", total>>20, before)
	}
	check := g.in(lab.Command{
		Path: command.Path, UID: lab.ProxyUID, Env: command.Env,
		Args: []string{"check", net.JoinHostPort(lab.ShootPod(lab.IPv4, 1).String(), strconv.Itoa(target.HTTPPort))},
	})
	result, err := r.Pod.Run(labtest.Context(t, 2*hang), check)
	if result.Code != 1 || !strings.Contains(result.Stdout, "--total-buffer") {
		t.Errorf("the check did not find the full buffers: exit code %d, %v:\n%s%s", result.Code, err, result.Stdout, result.Stderr)
	}
	if after := g.peakMiB(t); g.killed(t) || after >= limit>>20 {
		t.Errorf("the sidecar and the check had %d MiB of %d, and was one of them killed: %v", after, limit>>20, g.killed(t))
	} else {
		t.Logf("the sidecar had %d MiB at most, and %d MiB with the check", before, after)
	}
	if _, err := r.SidecarMetrics(labtest.Context(t, hang)); err != nil {
		t.Errorf("the sidecar does not answer any more: %v", err)
	}
}
