// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command proxy-client is the sidecar. It accepts the connections that init-redirect's
// rules send to it, and tunnels each through a konnectivity proxy-server to the app's
// original destination. It is wiring only: internal/proxy owns the data path,
// internal/dialer the tunnel, and internal/options the flags.
//
//	proxy-client --shoot-pod-cidr 100.64.0.0/12 --proxy-server vpn-proxy-server:8090 \
//		--ca-cert ca.crt --client-cert tls.crt --client-key tls.key
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
