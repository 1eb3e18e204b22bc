// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netnamespace"
)

// commandWords are words of the command init-redirect and its flags. A program that
// imports this package has neither.
var commandWords = regexp.MustCompile("init-redirect|proxy-client|init container's flags|`clean|--(iptables|netns|shoot|exclude|proxy|probe|drain|output|log)")

// TestSentencesSpeakOfFieldsAndFunctions: a program that imports this package shows its
// users what the package says. So no sentence names the command init-redirect or a flag.
func TestSentencesSpeakOfFieldsAndFunctions(t *testing.T) {
	files := token.NewFileSet()
	literals := 0
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		imports := map[*ast.BasicLit]bool{}
		for _, spec := range file.Imports {
			imports[spec.Path] = true
		}
		ast.Inspect(file, func(node ast.Node) bool {
			literal, ok := node.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING || imports[literal] {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Errorf("%s: %v", files.Position(literal.Pos()), err)
			}
			literals++
			if word := commandWords.FindString(text); word != "" && text != netnamespace.LockName {
				t.Errorf("%s says %q: name the field or the function, and let the command translate: %q", files.Position(literal.Pos()), word, text)
			}
			return true
		})
		return nil
	})
	if err != nil || literals == 0 {
		t.Fatalf("%d string literals were found: %v", literals, err)
	}
}
