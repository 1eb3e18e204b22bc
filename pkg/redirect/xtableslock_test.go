// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// holdXtablesLock takes a lock file of the test's own, as iptables-legacy does.
func holdXtablesLock(t *testing.T) (release func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "xtables.lock")
	t.Setenv("XTABLES_LOCKFILE", file)
	lock, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
			t.Error(err)
		}
	}
}

func TestWaitForTheXtablesLockIsSaid(t *testing.T) {
	p := dualStackPod(t)
	cfg := configFor(shootCIDR(IPv4))
	release := holdXtablesLock(t)
	log := newLines()
	opt := p.options(t, BackendLegacy)
	opt.Logger = slog.New(slog.NewTextHandler(log, nil))
	said := func() {
		log.await(t, `msg="waiting for the xtables lock" file=`+os.Getenv("XTABLES_LOCKFILE"))
		log.await(t, fmt.Sprintf("process %d (", os.Getpid()))
	}

	// A caller that waits less than iptables does knows for what it waited.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { _, err := Apply(ctx, cfg, opt); ended <- err }()
	said()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that was cancelled got %v", err)
	}

	log.text.Reset()
	go func() { _, err := Apply(t.Context(), cfg, opt); ended <- err }()
	said()
	release()
	if err := <-ended; err != nil {
		t.Errorf("after the wait: %v", err)
	}
}

func TestXtablesLockThatStaysHeldNamesItsHolder(t *testing.T) {
	p := dualStackPod(t)
	holdXtablesLock(t)
	p.Do(t, func() {
		opened, err := openIPTables(t.Context(), slog.New(slog.DiscardHandler), map[string]bool{}, IPv4, BackendLegacy)
		if err != nil {
			t.Error(err)
			return
		}
		legacy := opened.(*iptablesTables)
		legacy.wait = 1
		err = legacy.Restore("*nat\nCOMMIT\n")
		var kernel *KernelError
		if !errors.As(err, &kernel) || !errors.Is(err, ErrBusy) || suggestsOther(err) || !strings.Contains(err.Error(), fmt.Sprintf("process %d (", os.Getpid())) {
			t.Errorf("got %v, want ErrBusy and the holder", err)
		}
	})
}

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

// The holder is in another PID namespace, and so not in /proc/locks.
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
