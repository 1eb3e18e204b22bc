// SPDX-License-Identifier: Apache-2.0

// Command istio-iptables is what Istio's init container runs: it writes the rules of
// Istio's sidecar mode into the current network namespace.
//
// It exists because Istio has this command only inside of pilot-agent, which links all of
// Envoy's configuration and takes minutes to build. The command itself is a package.
package main

import (
	"fmt"
	"os"

	"istio.io/istio/pkg/log"
	"istio.io/istio/tools/istio-iptables/pkg/cmd"
)

func main() {
	options := log.DefaultOptions()
	command := cmd.GetCommand(options)
	options.AttachCobraFlags(command)
	if err := command.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "istio-iptables:", err)
		os.Exit(1)
	}
}
