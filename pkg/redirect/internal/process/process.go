// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package process describes other processes for people.
//
// It owns the words for a process that holds a lock. It never signals one.
package process

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// maxCommand is how many bytes of a command line are shown.
const maxCommand = 120

// Describe returns the id of a process and, if /proc shows it, its command line.
func Describe(pid int) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	words := strings.TrimSpace(string(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
	if err != nil || words == "" {
		return fmt.Sprintf("process %d", pid)
	}
	if len(words) > maxCommand {
		words = words[:maxCommand] + "…"
	}
	return fmt.Sprintf("process %d (%q)", pid, words)
}
