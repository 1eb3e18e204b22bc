// SPDX-License-Identifier: Apache-2.0

// Command kubectl-shoot_proxy is a plugin of kubectl: a file of that name on PATH becomes
// the command "kubectl shoot_proxy". It looks at an installation as a whole, and into
// single pods, with the rights of the kubeconfig that kubectl uses.
//
//	kubectl shoot_proxy check
//	kubectl shoot_proxy check prometheus-0 10.250.0.4:10250 --namespace monitoring
//
// It only connects packages. Package inspect looks at the installation, and package
// sidecar works in pods.
//
// Exit code 0 means that all is well. 1 means a failure, 2 bad flags or a kubeconfig that
// cannot be used, and 3 that there are only warnings. A failure of the plugin itself is one
// sentence on standard error.
package main

import "os"

// version is set by the linker (-X main.version=…). Without it, the version comes from
// the build information.
var version string

func main() {
	os.Exit(run(environment{args: os.Args[1:], stdout: os.Stdout, stderr: os.Stderr, version: version}))
}
