// SPDX-License-Identifier: Apache-2.0

// Package manifest injects into the pods of manifests: files of YAML or JSON
// documents, the way kubectl reads them.
//
// It owns finding the documents and the pod templates in them, and writing back what
// package webhook made of a pod. It never writes a document that it did not change in
// any other form than byte for byte, and it opens no file.
//
//	result := manifest.Inject(input, manifest.Options{Defaults: config, Images: images})
//	for _, outcome := range result.Outcomes {
//		fmt.Fprintln(os.Stderr, outcome)
//	}
//	os.Stdout.Write(result.Output) // nil where something was refused
//
// # All or nothing
//
// The output is meant for `kubectl apply -f -`. A workload whose label asks for the
// shoot must not come out without its redirect, so where one document is refused, or
// cannot be read, there is no output at all.
//
// # Two readings
//
// What a document means is decided by sigs.k8s.io/yaml, which kubectl uses. Its text is
// edited by package yamltext, with the positions that go.yaml.in/yaml tells. The pod goes
// through its Go type, but only the difference that package webhook made becomes part of
// the document: fields that the type does not know survive, and the type's empty fields
// do not appear. Then the edited text is read again, and has to mean what it should:
// anchors that share a value with something else are refused rather than changed there
// too.
//
// # There and back
//
// Injecting inserts text, and taking out removes the same text: what stood in the file
// before is there again, byte for byte. An empty list, a null, an alias or a merged key
// in whose place something is written is remembered in the status annotation, as
// "replaced", and is put back.
package manifest
