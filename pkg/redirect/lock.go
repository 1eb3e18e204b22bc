// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockName is the abstract Unix socket (unix(7)) that is the lock of a network
// namespace. The kernel keeps such names apart by network namespace, and frees
// one when its process ends, however that ends.
const lockName = "@shoot-proxy/init-redirect"

const (
	// lockTimeout is how long a caller waits for another one to finish. A
	// call lasts a second or two; with the xtables lock held, ten more.
	lockTimeout = 2 * time.Minute
	// quietWait is how long a caller waits before it says so.
	quietWait = time.Second
	// lockRetry is the pause between two tries, each a call of bind(2).
	lockRetry = 20 * time.Millisecond
)

// ErrBusy is an error that a [*KernelError] can wrap: another process works on
// the rules of the namespace, and did not finish in time.
var ErrBusy = errors.New("held by another process")

// lockNamespace takes the lock of the calling thread's network namespace. While
// another process holds it, lockNamespace waits, at most timeout, and logs for
// whom. The error is a [*KernelError] or the context's.
func lockNamespace(ctx context.Context, log *slog.Logger, timeout time.Duration) (release func() error, err error) {
	retry := time.NewTicker(lockRetry)
	defer retry.Stop()
	for began, said := time.Now(), false; ; {
		lock, err := net.ListenUnix("unix", &net.UnixAddr{Name: lockName, Net: "unix"})
		if err == nil {
			return lock.Close, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, &KernelError{
				Op:   "lock this network namespace with the abstract Unix socket " + lockName,
				Cure: "let the container's security module or seccomp profile allow Unix sockets",
				Err:  err,
			}
		}
		waited := time.Since(began)
		if waited >= timeout {
			return nil, &KernelError{
				Op:   fmt.Sprintf("lock this network namespace, for %s", timeout),
				Cure: "wait until that process has ended, or end it, and try again",
				Err:  fmt.Errorf("%w: %s", ErrBusy, lockHolder()),
			}
		}
		if waited >= quietWait && !said {
			said = true
			log.Warn("waiting: another process works on the rules of this network namespace", "holder", lockHolder(), "timeout", timeout)
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the lock of this network namespace, which has %s: %w", lockHolder(), ctx.Err())
		}
	}
}

// lockHolder describes the process that has the lock, which SO_PEERCRED knows
// (unix(7)): it listens on the socket.
func lockHolder() string {
	const unknown = "a process that cannot be known"
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: lockName, Net: "unix"})
	if err != nil {
		return unknown // it has ended meanwhile, or does not listen
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	raw, err := conn.SyscallConn()
	if err != nil {
		return unknown
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) { peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	switch {
	case err != nil || peerErr != nil:
		return unknown
	case peer.Pid <= 0:
		// cred_to_ucred of net/core/sock.c: not in this PID namespace.
		return fmt.Sprintf("a process of uid %d in another container, or outside of this one", peer.Uid)
	default:
		return processName(int(peer.Pid))
	}
}

// maxCommand bounds the command line in a log line.
const maxCommand = 120

// processName is a process for people: its id and, where /proc shows it, its
// command line.
func processName(pid int) string {
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
