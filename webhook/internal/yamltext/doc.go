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
// before the element that follows it. What is gone takes its lines with it, with the
// comments in them and those below with a deeper indent. A scalar is replaced in its
// place. Elements of two lists are the same where they have the same name, or else the
// same value.
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
// Libraries that keep comments write the whole document anew. In November 2026, 1142
// manifests of others were read and written without any change. The same bytes came
// from:
//
//   - go.yaml.in/yaml/v3 v3.0.6, with an indent of 2, for 194 of them;
//   - sigs.k8s.io/kustomize/kyaml v0.20.1, which keeps the indent of lists, for 504;
//   - github.com/goccy/go-yaml v1.19.2 for 817.
//
// Others edit the text, by their documentation; they were not tried. Those of
// gitlab.com/phpboyscout/go/yamldoc v0.8.0 and oneyaml.dev/go v0.1.1 are new, and have
// parsers of their own, where kubectl's has to decide. github.com/vmware-labs/go-yaml-edit
// replaces the text of nodes that are there, and its owner no longer maintains it.
//
// So only the positions of nodes come from a library here: from go.yaml.in/yaml/v3,
// which this module has anyway.
package yamltext
