// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command proxy-exit is an exit in the shoot: an HTTP/2 CONNECT proxy that clients reach
// through a konnectivity server and agent. It is wiring only: internal/exitserver owns the
// server, internal/exitpolicy what is allowed, and internal/options the flags.
//
//	proxy-exit serve --tls-cert tls.crt --tls-key tls.key --client-ca ca.crt --policy policy.yaml
//
// Exit codes: 0 drained after SIGTERM or SIGINT, 1 runtime failure, 2 bad configuration,
// 130 a second signal. A failure is one sentence on standard error.
package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// version is set by the linker (-X main.version=…). If it is empty, the build information
// has the version.
var version string

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	os.Exit(run(environment{args: os.Args[1:], variables: os.Environ(), stdout: os.Stdout, stderr: os.Stderr, signals: signals, version: version}))
}
