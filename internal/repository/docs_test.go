// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// testName matches the name of a test, a fuzz target or a benchmark in a document: in
// backticks, without a subtest's name after a slash.
var testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)[`/]")

// Each test that a document names exists.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	exists := map[string]bool{}
	for _, s := range sources(t) {
		if !s.isTest() {
			continue
		}
		for _, decl := range s.ast.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil {
				exists[fn.Name.Name] = true
			}
		}
	}
	named := 0
	walk(t, func(path string) {
		if filepath.Ext(path) != ".md" {
			return
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range testName.FindAllStringSubmatch(string(text), -1) {
			named++
			if !exists[match[1]] {
				t.Errorf("%s names %s, which is nowhere", path, match[1])
			}
		}
	})
	if named == 0 {
		t.Error("no document names a test: docs/reliability.md should")
	}
}
