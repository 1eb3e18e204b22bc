// SPDX-License-Identifier: Apache-2.0

// Command webhook adds init-redirect and proxy-client to pods whose label asks for it:
// in a cluster as an admission webhook, or in manifests before they are applied. It
// only connects packages. Package webhook decides what a pod gets, webhook/manifest
// edits the documents, and webhook/serve answers admission requests.
//
//	webhook inject -f prometheus.yaml --config webhook.yaml | kubectl apply -f -
//
// Exit code 0 means success, also if documents were skipped. 1 means that a document
// was refused or something failed. 2 means bad flags or configuration. A failure is one
// sentence on standard error.
package main

import "os"

// version is set by the linker (-X main.version=…). Without it, the version comes from
// the build information.
var version string

func main() {
	os.Exit(run(environment{args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, version: version}))
}
