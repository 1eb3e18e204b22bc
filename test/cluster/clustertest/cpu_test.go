// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"testing"
	"time"
)

func TestCPUClockOfBothVersionsOfCgroups(t *testing.T) {
	for _, c := range []struct {
		name, cgroup, path, content string
		used                        time.Duration
	}{
		{
			"version 1, and an unused hierarchy of version 2",
			"9:memory:/a/m\n4:cpu,cpuacct:/a/b:c\n2:cpuset:/a\n0::/a/unified\n",
			"/sys/fs/cgroup/cpu,cpuacct/a/b:c/cpuacct.usage", "1500000000\n", 1500 * time.Millisecond,
		},
		{
			"version 1, each controller alone",
			"5:cpu:/x\n4:cpuacct:/a/b\n",
			"/sys/fs/cgroup/cpuacct/a/b/cpuacct.usage", "7\n", 7,
		},
		{
			"version 2",
			"0::/a/b\n",
			"/sys/fs/cgroup/a/b/cpu.stat", "usage_usec 2500\nuser_usec 2000\nsystem_usec 500\n", 2500 * time.Microsecond,
		},
	} {
		clock, err := newCPUClock(c.cgroup)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if clock.path != c.path {
			t.Errorf("%s: the clock is %s, want %s", c.name, clock.path, c.path)
		}
		if used, err := clock.read(c.content); err != nil || used != c.used {
			t.Errorf("%s: it reads %v, error %v, want %v", c.name, used, err, c.used)
		}
	}
	for _, text := range []string{"", "3:memory:/a\n", "no line of the file"} {
		if clock, err := newCPUClock(text); err == nil {
			t.Errorf("%q gives the clock %s, want an error", text, clock.path)
		}
	}
	if used, err := usageUsec("user_usec 1\n"); err == nil {
		t.Errorf("a cpu.stat without usage_usec gives %v, want an error", used)
	}
}
