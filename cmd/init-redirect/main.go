// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command init-redirect is the init container. In its own pod's network namespace it
// redirects the shoot's CIDRs to the port of proxy-client. It also shows, checks and removes
// what it did. It is wiring only: pkg/redirect owns the rules, and internal/options the flags.
//
//	init-redirect --shoot-pod-cidr 100.64.0.0/12 --shoot-service-cidr 100.104.0.0/13
//	init-redirect dump
//
// Exit codes: 0 done, 1 unexpected failure, 2 bad configuration and nothing changed, 3 the
// kernel or the permissions do not allow it, 4 verification failed. A failure is one sentence
// on standard error, and one line of JSON in /dev/termination-log if that file exists.
package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// version is set by the linker (-X main.version=…). If it is empty, the build information has
// the version.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	code := run(ctx, environment{os.Args[1:], os.Environ(), os.Stdout, os.Stderr, "/dev/termination-log", version})
	stop()
	os.Exit(code)
}
