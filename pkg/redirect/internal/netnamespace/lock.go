// SPDX-License-Identifier: Apache-2.0

//go:build linux

package netnamespace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelerror"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/process"
)

// LockName is the abstract Unix socket (unix(7)) that is the lock of a network
// namespace. The kernel has a set of such names for each network namespace. It frees a
// name when the process that has it ends, however that ends. The name never changes:
// all releases have to lock the same socket.
const LockName = "@shoot-proxy/init-redirect"

const (
	// LockTimeout is how long a caller waits for another process. A call takes a
	// second or two, and ten more if it waits for the xtables lock.
	LockTimeout = 2 * time.Minute
	// quietWait is how long a caller waits before it logs that it waits.
	quietWait = time.Second
	// lockRetry is the pause between two tries. Each try is a call of bind(2).
	lockRetry = 20 * time.Millisecond
)

// Lock takes the lock of the calling thread's network namespace. While another process
// has it, Lock waits for at most timeout, and logs which process that is. The error is a
// [*kernelerror.Error] or the context's.
func Lock(ctx context.Context, log *slog.Logger, timeout time.Duration) (release func() error, err error) {
	retry := time.NewTicker(lockRetry)
	defer retry.Stop()
	for began, said := time.Now(), false; ; {
		lock, err := net.ListenUnix("unix", &net.UnixAddr{Name: LockName, Net: "unix"})
		if err == nil {
			return lock.Close, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, &kernelerror.Error{
				Op:   "lock this network namespace with the abstract Unix socket " + LockName,
				Cure: "let the container's security module or seccomp profile allow Unix sockets",
				Err:  err,
			}
		}
		waited := time.Since(began)
		if waited >= timeout {
			return nil, &kernelerror.Error{
				Op:   fmt.Sprintf("lock this network namespace, for %s", timeout),
				Cure: "wait until that process has ended, or end it, and try again",
				Err:  fmt.Errorf("%w: %s", kernelerror.ErrBusy, lockHolder()),
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

// lockHolder describes the process that has the lock. That process listens on the
// socket, so SO_PEERCRED tells its id (unix(7)).
func lockHolder() string {
	const unknown = "a process that cannot be known"
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: LockName, Net: "unix"})
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
		return process.Describe(int(peer.Pid))
	}
}
