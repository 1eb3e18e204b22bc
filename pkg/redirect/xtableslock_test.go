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

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/iptables"
)

// holdXtablesLock locks a lock file of the test, as iptables-legacy locks its own.
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

	// A caller with a shorter wait than that of iptables reads what it waited for.
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
		opener := iptables.NewOpener(t.Context(), iptables.Options{Logger: slog.New(slog.DiscardHandler), Owns: isOurs, LockWaitSeconds: 1})
		legacy, err := opener.Open(IPv4, iptables.Legacy)
		if err != nil {
			t.Error(err)
			return
		}
		err = legacy.Restore("*nat\nCOMMIT\n")
		var kernel *KernelError
		if !errors.As(err, &kernel) || !errors.Is(err, ErrBusy) || suggestsOther(err) || !strings.Contains(err.Error(), fmt.Sprintf("process %d (", os.Getpid())) {
			t.Errorf("got %v, want ErrBusy and the holder", err)
		}
	})
}
