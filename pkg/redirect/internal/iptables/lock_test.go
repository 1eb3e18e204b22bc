// SPDX-License-Identifier: Apache-2.0

//go:build linux

package iptables

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestHolderOfAFileLock(t *testing.T) {
	const locks = `1: POSIX  ADVISORY  WRITE 11 fe:00:7 0 EOF
2: FLOCK  ADVISORY  WRITE 12 fe:01:7 0 EOF
3: FLOCK  ADVISORY  WRITE 13 fe:00:7 0 EOF
3: -> FLOCK  ADVISORY  WRITE 14 fe:00:8 0 EOF
4: OFDLCK
`
	if pid, err := parseLocks(locks, "fe:00:7"); err != nil || pid != 13 {
		t.Errorf("holder %d, %v; want 13", pid, err)
	}
	if pid, err := parseLocks(locks, "fe:00:8"); !errors.Is(err, errNoHolder) {
		t.Errorf("a process that waits counts as the holder: %d, %v", pid, err)
	}
}

// TestChildThatWaitsForAnUnseenHolderIsKnown: a holder in another PID namespace is not in
// /proc/locks.
func TestChildThatWaitsForAnUnseenHolderIsKnown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "xtables.lock")
	if hasOpen(os.Getpid(), file) {
		t.Error("a file that does not exist is open")
	}
	lock, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if !hasOpen(os.Getpid(), file) {
		t.Error("an open file is not found")
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if hasOpen(os.Getpid(), file) {
		t.Error("a closed file is open")
	}
}
