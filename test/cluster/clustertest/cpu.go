// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// cgroups is where the machine mounts them.
const cgroups = "/sys/fs/cgroup"

// CPUClock reads the CPU time that the processes of a container have used, as the kernel
// counts it for the container's cgroup.
type CPUClock struct {
	path string
	read func(text string) (time.Duration, error)
}

// CPUClock returns the clock of a container that runs. It may be an init container.
func (c *Cluster) CPUClock(t testing.TB, pod *corev1.Pod, container string) *CPUClock {
	t.Helper()
	pid := c.processOf(t, containerID(t, pod, container))
	text, err := c.Node.Run(Context(t), "cat", fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	clock, err := newCPUClock(text)
	if err == nil {
		_, err = os.Stat(clock.path)
	}
	if err != nil {
		t.Fatalf("container %s of pod %s: %v", container, pod.Name, err)
	}
	return clock
}

// newCPUClock parses a file /proc/PID/cgroup: lines of "ID:CONTROLLERS:PATH". Version 2
// of cgroups has no controllers there (cgroups(7)).
func newCPUClock(text string) (*CPUClock, error) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && slices.Contains(strings.Split(fields[1], ","), "cpuacct") {
			return &CPUClock{path: filepath.Join(cgroups, fields[1], fields[2], "cpuacct.usage"), read: nanoseconds}, nil
		}
	}
	for line := range strings.Lines(text) {
		if path, found := strings.CutPrefix(strings.TrimSpace(line), "0::"); found {
			return &CPUClock{path: filepath.Join(cgroups, path, "cpu.stat"), read: usageUsec}, nil
		}
	}
	return nil, fmt.Errorf("its process is in no cgroup that counts CPU time: %q", text)
}

// Read returns the time so far.
func (c *CPUClock) Read(t testing.TB) time.Duration {
	t.Helper()
	text, err := os.ReadFile(c.path)
	if err != nil {
		t.Fatal(err)
	}
	used, err := c.read(string(text))
	if err != nil {
		t.Fatalf("%s: %v", c.path, err)
	}
	return used
}

// nanoseconds parses cpuacct.usage, a file of cgroups of version 1.
func nanoseconds(text string) (time.Duration, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return time.Duration(n), err
}

// usageUsec parses cpu.stat, a file of cgroups of version 2.
func usageUsec(text string) (time.Duration, error) {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, "usage_usec "); found {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return time.Duration(n) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("it has no line usage_usec: %q", text)
}
