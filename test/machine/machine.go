// SPDX-License-Identifier: Apache-2.0

// Package machine describes the machine on which something was measured.
package machine

import (
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Machine describes where and when something was measured.
type Machine struct {
	CPU     string
	Threads int
	Kernel  string
	Go      string
	Time    time.Time
}

// This returns the machine that the program runs on, and the present time.
func This() Machine {
	m := Machine{Threads: runtime.NumCPU(), Go: runtime.Version(), Time: time.Now().UTC().Truncate(time.Second)}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	var name syscall.Utsname
	if err := syscall.Uname(&name); err == nil {
		for _, c := range name.Release {
			if c == 0 {
				break
			}
			m.Kernel += string(rune(c))
		}
	}
	return m
}
