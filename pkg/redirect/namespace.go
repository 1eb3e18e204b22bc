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
	"runtime"

	"github.com/vishvananda/netns"
)

// namespace is a network namespace that the calling thread is in, with the
// seams that tests replace.
type namespace struct {
	backend      Backend
	log          *slog.Logger
	open         func(Family, Backend) (tables, error)
	ipv6Disabled func() (how string, disabled bool)
	reachSteps   func(*target, Family) ([]step, error)
	listNative   func(context.Context) ([]byte, error) // nftables as JSON; nil asks nothing
	resolvConf   string                                // the pod's; "" where it cannot be known
}

// inside runs fn in the namespace of opt, under its lock. Everything in fn that belongs to the
// namespace has to happen on fn's own goroutine, children included: Linux
// gives each thread a namespace, and a child that of the thread that forks it.
func inside(ctx context.Context, opt Options, fn func(*namespace) error) (err error) {
	warned := map[string]bool{}
	n := &namespace{
		backend:      opt.Backend,
		log:          opt.logger(),
		open:         func(f Family, b Backend) (tables, error) { return openIPTables(ctx, opt.logger(), warned, f, b) },
		ipv6Disabled: ipv6Disabled,
		reachSteps:   reachSteps,
		listNative:   listNative,
		resolvConf:   "/etc/resolv.conf",
	}
	switch n.backend {
	case "":
		n.backend = BackendAuto
	case BackendAuto, BackendNFT, BackendLegacy:
	default:
		return &ConfigError{"Backend", string(n.backend), "is none of auto, nft and legacy"}
	}
	if opt.Netns == "" {
		// Locked all the same: nothing then depends on what a caller did to
		// its thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		return alone(ctx, n, fn)
	}
	n.resolvConf = resolvConfOf(opt.Netns)
	leave, err := enter(opt.Netns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave()) }()
	return alone(ctx, n, fn)
}

// alone runs fn while no other process of this project works in the namespace.
// Those that only look take the lock too: they would see half of a change.
func alone(ctx context.Context, n *namespace, fn func(*namespace) error) (err error) {
	release, err := lockNamespace(ctx, n.log, lockTimeout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	return fn(n)
}

// enter moves the calling goroutine, on a thread of its own, into a namespace.
func enter(path string) (leave func() error, err error) {
	there, err := netns.GetFromPath(path)
	if err != nil {
		return nil, &ConfigError{"Netns", path, fmt.Sprintf("cannot be opened (%v): give the file of a network namespace, such as /run/netns/NAME", err)}
	}
	defer there.Close() //nolint:errcheck // a descriptor that was only read
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("read this process's network namespace: %w", err)
	}
	if err := netns.Set(there); err != nil {
		_ = home.Close()
		runtime.UnlockOSThread()
		if errors.Is(err, os.ErrPermission) {
			return nil, &KernelError{
				Op:   "enter network namespace " + path,
				Cure: "run as root with capability SYS_ADMIN, or with an empty Options.Netns inside of the pod",
				Err:  fmt.Errorf("%w (%w)", ErrPermission, err),
			}
		}
		return nil, &ConfigError{"Netns", path, fmt.Sprintf("is not a network namespace (%v)", err)}
	}
	return func() error {
		defer home.Close() //nolint:errcheck // a descriptor that was only read
		if err := netns.Set(home); err != nil {
			// Still locked, the thread ends with its goroutine.
			return fmt.Errorf("leave network namespace %s: %w", path, err)
		}
		runtime.UnlockOSThread()
		return nil
	}, nil
}

// resolvConfOf returns the resolver configuration of a namespace that was named
// by its file. Only ip-netns(8) says where that is; a pod's own file lies in a
// mount namespace that this process is not in, and this process's own says
// nothing about the pod.
func resolvConfOf(netnsPath string) string {
	file := filepath.Join("/etc/netns", filepath.Base(netnsPath), "resolv.conf")
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}
