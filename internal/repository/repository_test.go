// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// root is the folder of the product's go.mod, relative to this package.
const root = "../.."

// source is one Go file of the repository, in any of its modules.
type source struct {
	path string // relative to root, with slashes
	text string
	ast  *ast.File
	fset *token.FileSet
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// dir returns the folder of the file.
func (s source) dir() string { return filepath.ToSlash(filepath.Dir(s.path)) }

// line returns the line number of a position, for failure messages.
func (s source) line(pos token.Pos) int { return s.fset.Position(pos).Line }

// walk calls visit for each file of the repository. It leaves out testdata and the
// files of git and of builds.
func walk(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() {
			visit(path)
			return nil
		}
		switch entry.Name() {
		case ".git", "bin", "dist", "testdata":
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatalf("walk the repository: %v", err)
	}
}

// sources parses every Go file of the repository.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	walk(t, func(path string) {
		if filepath.Ext(path) != ".go" {
			return
		}
		text := read(t, path)
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			t.Errorf("parse: %v", err)
			return
		}
		all = append(all, source{path: relative(t, path), text: text, ast: file, fset: fset})
	})
	if len(all) == 0 {
		t.Fatal("found no Go file: the tests look in the wrong folder")
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return string(content)
}

func relative(t *testing.T, path string) string {
	t.Helper()
	short, err := filepath.Rel(root, path)
	if err != nil {
		t.Fatalf("shorten %s: %v", path, err)
	}
	return filepath.ToSlash(short)
}
