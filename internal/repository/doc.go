// SPDX-License-Identifier: Apache-2.0

// Package repository holds the rules that this repository sets for itself, as
// tests: what a source file looks like, which packages may import what, and
// that README.md says the same as the code about flags, metrics and reasons.
//
// It has no code of its own and nothing imports it. A rule belongs here when a
// linter does not know it and a reviewer would otherwise have to remember it:
//
//	go test ./internal/repository
package repository
