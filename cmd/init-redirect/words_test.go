// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/pkg/redirect"
)

// librarySentences returns the strings of pkg/redirect and of what lies under it. Those
// that are joined with + are one.
func librarySentences(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir("../../pkg/redirect", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			text, ok := sentence(t, node)
			if ok {
				all = append(all, text)
			}
			return !ok
		})
		return nil
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("%d strings were found in pkg/redirect: %v", len(all), err)
	}
	return all
}

// sentence returns the text of a literal or of a sum, where each part that is no literal
// has no text.
func sentence(t *testing.T, node ast.Node) (text string, ok bool) {
	t.Helper()
	switch node := node.(type) {
	case *ast.BasicLit:
		if node.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(node.Value)
		if err != nil {
			t.Fatal(err)
		}
		return text, true
	case *ast.BinaryExpr:
		left, isLeft := sentence(t, node.X)
		right, isRight := sentence(t, node.Y)
		return left + right, node.Op == token.ADD && (isLeft || isRight)
	default:
		return "", false
	}
}

// goWords are functions and fields of pkg/redirect.
var goWords = regexp.MustCompile(`\b(redirect\.[A-Z]\w*|package redirect|(Clean)?Options\.\w+|Config\.\w+|Report\.\w+|the (same )?Config\b)`)

// TestUsersReadCommandsAndFlags: each sentence of pkg/redirect that names a function or
// a field of it is translated, and each phrase translates something.
func TestUsersReadCommandsAndFlags(t *testing.T) {
	sentences := librarySentences(t)
	for _, text := range sentences {
		if strings.HasSuffix(text, "Options.Backend ") { // the backend follows
			text += string(redirect.BackendNFT)
		}
		if word := goWords.FindString(inCommandWords(text)); word != "" {
			t.Errorf("users of the command read %q in %q", word, text)
		}
	}
	all := strings.Join(sentences, "\n")
	for phrase := range slices.Chunk(phrases(), 2) {
		if shared := strings.TrimSuffix(strings.TrimSuffix(phrase[0], "legacy"), "nft"); !strings.Contains(all, shared) {
			t.Errorf("pkg/redirect does not say %q", phrase[0])
		}
	}
}

// TestTranslationKeepsTheKindOfAnError: the exit code is that of the error behind it.
func TestTranslationKeepsTheKindOfAnError(t *testing.T) {
	err := translated(&redirect.VerifyError{Problems: []string{"x"}})
	if want := "the redirect is not as it should be (`init-redirect apply`, with the init container's flags, repairs rules): x"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if code, _ := exitCode(err); code != exitNotVerified {
		t.Errorf("exit code %d, want %d", code, exitNotVerified)
	}
	if plain := errors.New("disk on fire"); translated(plain) != plain || translated(nil) != nil {
		t.Error("an error that needs no translation is replaced")
	}
}
