// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// Process is the first process of a container, as its node sees it.
type Process struct {
	// PID is its id in the node.
	PID int
	// Status are the fields of its /proc/PID/status, without the space around them.
	Status map[string]string
}

// AwaitProcess returns the first process of a container that runs. A container begins as
// the runtime's process. AwaitProcess waits until that has become the container's
// program.
func (c *Cluster) AwaitProcess(t testing.TB, pod *corev1.Pod, container, program string) *Process {
	t.Helper()
	process := &Process{PID: c.processOf(t, containerID(t, pod, container))}
	Eventually(t, fmt.Sprintf("process %s of container %s", program, container), func(ctx context.Context) error {
		text, err := c.Node.Run(ctx, "cat", fmt.Sprintf("/proc/%d/status", process.PID))
		if err != nil {
			return err
		}
		process.Status = map[string]string{}
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(line, ":")
			process.Status[name] = strings.Join(strings.Fields(value), " ")
		}
		if name := process.Status["Name"]; name != program {
			return fmt.Errorf("it is %s", name)
		}
		return nil
	})
	return process
}
