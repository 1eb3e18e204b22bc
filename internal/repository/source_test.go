// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"go/ast"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	license  = "SPDX-License-Identifier: Apache-2.0"
	maxLines = 400
	// maxPackageLines is how many lines a package has at most, tests left out.
	maxPackageLines = 3000
)

func TestEveryFileNamesItsLicense(t *testing.T) {
	walk(t, func(name string) {
		base, ext := filepath.Base(name), filepath.Ext(name)
		text := ""
		switch {
		case ext == ".go", base == "Makefile", base == "Dockerfile", ext == ".sh":
			text = read(t, name)
		case ext == "" && filepath.Base(filepath.Dir(name)) != ".git":
			// Scripts have no extension; LICENSE and the like have no "#!".
			if text = read(t, name); !strings.HasPrefix(text, "#!") {
				return
			}
		default:
			return
		}
		first := strings.SplitN(text, "\n", 3)
		if !slices.ContainsFunc(first[:min(2, len(first))], func(line string) bool {
			return strings.TrimLeft(line, "/# ") == license
		}) {
			t.Errorf("%s: the first line (after #!) must be a comment %q", relative(t, name), license)
		}
	})
}

func TestFilesAreShort(t *testing.T) {
	for _, file := range sources(t) {
		if ast.IsGenerated(file.ast) {
			continue
		}
		if lines := strings.Count(file.text, "\n"); lines > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it by what its parts are about", file.path, lines, maxLines)
		}
	}
}

// TestPackagesAreShort: a package of the product has one owner of each fact, which is no
// longer so if it is long. It counts all modules but those under test/, whose packages are
// tests themselves.
func TestPackagesAreShort(t *testing.T) {
	lines := map[string]int{}
	for _, file := range sources(t) {
		if !file.isTest() && !under(file.path, "test/") && !ast.IsGenerated(file.ast) {
			lines[file.dir()] += strings.Count(file.text, "\n")
		}
	}
	for dir, n := range lines {
		if n > maxPackageLines {
			t.Errorf("%s has %d lines outside of tests, more than %d: split it into packages that each own something", dir, n, maxPackageLines)
		}
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, file := range sources(t) {
		if file.isTest() {
			continue
		}
		doc := file.ast.Doc.Text()
		ok := strings.HasPrefix(doc, "Package "+file.ast.Name.Name+" ") ||
			file.ast.Name.Name == "main" && strings.HasPrefix(strings.ToLower(strings.TrimPrefix(doc, "Command ")), path.Base(file.dir())+" ")
		documented[file.dir()] = documented[file.dir()] || ok
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment that begins with \"Package name\" (or \"Command name\")", dir)
		}
	}
}

// A package is named after what it does. The names below collect code without a home.
func TestPackageNamesSayWhatTheyDo(t *testing.T) {
	for _, file := range sources(t) {
		switch name := file.ast.Name.Name; name {
		case "util", "utils", "common", "helper", "helpers", "constants", "misc", "shared", "base":
			t.Errorf("%s: package %s says nothing about what is in it", file.path, name)
		}
	}
}

// Only main ends the process, so that all other code can be tested and every deferred
// call runs.
func TestOnlyMainEndsTheProcess(t *testing.T) {
	for _, file := range sources(t) {
		if file.isTest() {
			continue
		}
		for _, decl := range file.ast.Decls {
			fn, isFunc := decl.(*ast.FuncDecl)
			if isFunc && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s:%d: func init runs before anyone can configure or test it", file.path, file.line(fn.Pos()))
			}
			if isFunc && fn.Name.Name == "main" && file.ast.Name.Name == "main" {
				continue
			}
			ast.Inspect(decl, func(node ast.Node) bool {
				if call := calledFunction(node); call == "os.Exit" || strings.HasPrefix(call, "log.Fatal") || strings.HasPrefix(call, "log.Panic") {
					t.Errorf("%s:%d: %s outside of main", file.path, file.line(node.Pos()), call)
				}
				return true
			})
		}
	}
}

// calledFunction returns "package.Function" if node is such a call.
func calledFunction(node ast.Node) string {
	call, ok := node.(*ast.CallExpr)
	if !ok {
		return ""
	}
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	pkg, ok := selector.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return pkg.Name + "." + selector.Sel.Name
}

// A comment that silences a linter gives the reason.
func TestLintersAreSilencedWithAReason(t *testing.T) {
	for _, file := range sources(t) {
		for _, group := range file.ast.Comments {
			for _, comment := range group.List {
				fields := strings.Fields(comment.Text)
				switch {
				case strings.HasPrefix(comment.Text, "//lint:") && len(fields) < 3,
					strings.HasPrefix(comment.Text, "//nolint") && len(fields) < 2:
					t.Errorf("%s:%d: %s gives no reason", file.path, file.line(comment.Pos()), comment.Text)
				}
			}
		}
	}
}

// TestCertificatesOfTestsHaveOneMaker: tests take their certificates from
// internal/certtest. The exception signs with the webhook's own CA.
func TestCertificatesOfTestsHaveOneMaker(t *testing.T) {
	for _, file := range sources(t) {
		if !file.isTest() || file.path == "test/kube/webhook/managed_test.go" {
			continue
		}
		ast.Inspect(file.ast, func(node ast.Node) bool {
			if call, ok := node.(*ast.SelectorExpr); ok && call.Sel.Name == "CreateCertificate" {
				t.Errorf("%s:%d makes a certificate: internal/certtest does", file.path, file.line(call.Pos()))
			}
			return true
		})
	}
}
