// SPDX-License-Identifier: Apache-2.0

// Package yamltext changes what a YAML or JSON document says, and leaves every byte of
// its text alone that does not have to change.
//
// It owns the text edit: where a node begins and ends, and how to write a key or an
// element in the style of its siblings. It decides nothing about what the document
// should say, and it never encodes a document anew: comments, blank lines, indents,
// quotes and line breaks are the author's.
//
//	document := yamltext.Document{Text: text, Root: node, Value: value}
//	edited, err := document.Edit(want)
//
// # Which text changes
//
// Edit compares the document with what it should say, from the root down. A key that
// is new is written behind its siblings, with their indent, and an element of a list
// before the element that follows it. What is gone takes its lines with it, and the
// comments at the ends of those lines. A scalar is replaced in its place. Elements of
// two lists are the same where they have the same name, or else the same value.
//
// An empty list or mapping, a null, an alias and a merged key have no text into which
// something could be inserted. Edit writes the value in their place and returns the
// text that stood there, as [Source]. The caller that keeps it can have it put back.
//
// # What is not checked
//
// A shared anchor, or a kind of YAML that Edit does not know, may make the text say
// something else. The caller has to read the text again and compare: package
// webhook/manifest does.
//
// # Why no library
//
// go.yaml.in/yaml and sigs.k8s.io/kustomize/kyaml keep comments, but write the whole
// document anew: indents, blank lines, folds and aligned comments are lost.
// github.com/goccy/go-yaml does the same from its syntax tree, loses some comments in
// it, and reads scalars by other rules than kubectl. Only the positions of nodes are
// taken from a library here: those of go.yaml.in/yaml, which this module has anyway.
package yamltext
