// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cpu returns how much processor time the threads of a process have used. That includes
// the kernel's time for them (/proc/PID/task/TID/schedstat: nanoseconds first,
// Documentation/scheduler/sched-stats.rst). Threads that have ended do not count; those
// of a Go program do not end.
func cpu(pid int) (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		used, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(used, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		sum += time.Duration(n)
	}
	if sum == 0 {
		return 0, fmt.Errorf("process %d has no threads", pid)
	}
	return sum, nil
}

// memory returns how many bytes of a process are resident. anonymous counts only those
// that no file backs (proc_pid_status(5)).
func memory(pid int) (resident, anonymous float64, err error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		number, _, _ := strings.Cut(strings.TrimSpace(value), " ")
		switch kib, err := strconv.ParseFloat(number, 64); {
		case err != nil:
		case name == "VmRSS":
			resident = kib * 1024
		case name == "RssAnon":
			anonymous = kib * 1024
		}
	}
	if resident == 0 || anonymous == 0 {
		err = fmt.Errorf("process %d has no memory", pid)
	}
	return resident, anonymous, err
}
