// SPDX-License-Identifier: Apache-2.0

// Package manifest injects into the pods of manifests: files of YAML or JSON documents,
// as kubectl reads them.
//
// It owns finding the documents and their pod templates, and writing the changes that
// package webhook makes to a pod. It never rewrites a document that it does not change,
// and it opens no file.
//
//	result := manifest.Inject(input, manifest.Options{Defaults: config, Images: images})
//	for _, outcome := range result.Outcomes {
//		fmt.Fprintln(os.Stderr, outcome)
//	}
//	os.Stdout.Write(result.Output) // nil if something was refused
//
// # All or nothing
//
// The output is meant for `kubectl apply -f -`. A workload whose label asks for the
// shoot must not be applied without its redirect. So if one document is refused or
// cannot be read, there is no output at all.
//
// # Two parsers
//
// sigs.k8s.io/yaml, which kubectl uses, decides what a document means. Package yamltext
// edits its text, with the positions from go.yaml.in/yaml.
//
// The pod is converted to its Go type. But only the difference that package webhook
// made is written to the document. So fields that the type does not know survive, and
// the type's empty fields do not appear.
//
// The edited text is then parsed again, and must mean the expected value. An edit that
// would also change another value, because an anchor is shared, is refused.
//
// # Inject and uninject
//
// Injecting inserts text, and uninjecting removes the same text. Afterwards the file is
// the same as before, byte for byte.
//
// An empty list, a null, an alias or a merged key may be replaced. Then the status
// annotation records the old text as "replaced", and uninjecting writes it back.
package manifest
