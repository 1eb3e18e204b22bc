// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU times in /proc (USER_HZ, proc_pid_stat(5)): the
// same on every Linux.
const clockTick = 10 * time.Millisecond

// cpu is how much processor time a process has used, its own and the kernel's
// for it.
func cpu(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// Behind the name, which may hold anything: state is field 3, utime 14, stime 15.
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("cannot read the CPU time of process %d from %q", pid, text)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, err
}

// memory is how many bytes of a process are resident: all of them, and those
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
