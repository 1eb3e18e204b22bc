// SPDX-License-Identifier: Apache-2.0

// Package repository holds the repository's own rules, as tests. They check what a
// source file looks like, which packages may import what, and that README.md agrees
// with the code about flags, metrics and reasons.
//
// It has no code of its own, and no package imports it. It never changes a file. A rule
// belongs here if no linter checks it, so that a reviewer would have to remember it:
//
//	go test ./internal/repository
package repository
