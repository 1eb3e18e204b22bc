// SPDX-License-Identifier: Apache-2.0

// Command webhook adds init-redirect and proxy-client to the pods whose label asks for
// it: as an admission webhook of a cluster, or in manifests on their way there. It is
// wiring only: what a pod gets is package webhook's, the documents are
// webhook/manifest's, admission is webhook/serve's.
//
//	webhook inject -f prometheus.yaml --config webhook.yaml | kubectl apply -f -
//
// Exit codes: 0 done, which includes documents that were skipped, 1 a document was
// refused or something failed, 2 bad flags or configuration. A failure is one sentence
// on standard error.
package main

import "os"

// version is set by the linker (-X main.version=…); without, the build knows.
var version string

func main() {
	os.Exit(run(environment{args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, version: version}))
}
