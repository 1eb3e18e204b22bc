// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package netnamespace enters and locks a network namespace.
//
// It owns the calling thread's namespace for the length of a call, and the lock by which
// processes of this project take turns. It never makes or deletes a namespace, and it
// changes nothing in one.
package netnamespace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netns"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelerror"
)

// PathError is a file that is no network namespace.
type PathError struct {
	// Path is the file.
	Path string
	// Problem says what is wrong with it and what to do.
	Problem string
}

// Error returns one sentence.
func (e *PathError) Error() string { return fmt.Sprintf("%q: %s", e.Path, e.Problem) }

// Enter moves the calling goroutine, on a thread of its own, into the namespace of a file
// such as /run/netns/pod. With path "" the goroutine stays in the namespace that its thread
// is in, and on that thread. The error is a [*PathError] if the file is no namespace, and a
// [*kernelerror.Error] if the process may not enter it.
func Enter(path string) (leave func() error, err error) {
	if path == "" {
		runtime.LockOSThread()
		return func() error {
			runtime.UnlockOSThread()
			return nil
		}, nil
	}
	there, err := netns.GetFromPath(path)
	if err != nil {
		return nil, &PathError{path, fmt.Sprintf("cannot be opened (%v): give the file of a network namespace, such as /run/netns/NAME", err)}
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
			return nil, &kernelerror.Error{
				Op:   "enter network namespace " + path,
				Cure: "run as root with capability SYS_ADMIN, or with an empty Options.Netns inside of the pod",
				Err:  fmt.Errorf("%w (%w)", kernelerror.ErrPermission, err),
			}
		}
		return nil, &PathError{path, fmt.Sprintf("is not a network namespace (%v)", err)}
	}
	return func() error {
		defer home.Close() //nolint:errcheck // a descriptor that was only read
		if err := netns.Set(home); err != nil {
			// The thread stays locked, so the runtime ends it with its goroutine.
			return fmt.Errorf("leave network namespace %s: %w", path, err)
		}
		runtime.UnlockOSThread()
		return nil
	}, nil
}

// ResolvConf returns the resolver configuration for the namespace that [Enter] enters, or
// "" if it cannot be known. For a file, it is what ip-netns(8) keeps for that: a pod's own
// configuration is in another mount namespace, and that of this process says nothing about
// the pod.
func ResolvConf(path string) string {
	if path == "" {
		return "/etc/resolv.conf"
	}
	file := filepath.Join("/etc/netns", filepath.Base(path), "resolv.conf")
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}
