// SPDX-License-Identifier: Apache-2.0

// Package yamltext edits the text of a YAML or JSON document so that it has another
// value. It changes no byte of the text that it need not change.
//
// It owns the text edit: the beginning and the end of a node, and how to write a key or
// an element in the style of its siblings. It never decides which value the document
// should have, and never encodes a document anew. Comments, blank lines, indents,
// quotes and line breaks stay the author's.
//
//	document := yamltext.Document{Text: text, Root: node, Value: value}
//	edited, err := document.Edit(want)
//
// # Which text changes
//
// Edit compares the document's value with the wanted one, from the root down. A new key
// is inserted after its siblings, with their indent. A new element of a list is
// inserted before the element that follows it. A removed entry's lines are removed,
// with the comments in them and with those below that have a deeper indent. A scalar is
// replaced in its place. Elements of two lists match if they have the same name, or
// otherwise the same value.
//
// In an empty list or mapping, a null, an alias or a merged key, nothing can be
// inserted. Edit replaces it with the value, and returns the old text as a [Source].
// The caller can keep the Source, and have the text written back later.
//
// # What is not checked
//
// With a shared anchor, or a kind of YAML that Edit does not know, the text may get
// another value. The caller must parse the text again and compare. Package
// webhook/manifest does.
//
// # Why no library
//
// Libraries that keep comments write the whole document anew. In November 2026, 1142
// manifests of other projects were read and written without any change. The bytes
// stayed the same with:
//
//   - go.yaml.in/yaml/v3 v3.0.6, with an indent of 2, for 194 of them;
//   - sigs.k8s.io/kustomize/kyaml v0.20.1, which keeps the indent of lists, for 504;
//   - github.com/goccy/go-yaml v1.19.2 for 817.
//
// Other libraries edit the text, by their documentation. They were not tried.
// gitlab.com/phpboyscout/go/yamldoc v0.8.0 and oneyaml.dev/go v0.1.1 are new, and have
// their own parsers, but here kubectl's parser must decide.
// github.com/vmware-labs/go-yaml-edit replaces only the text of existing nodes, and its
// owner no longer maintains it.
//
// So only the positions of nodes come from a library: from go.yaml.in/yaml/v3, which
// this module uses anyway.
package yamltext
