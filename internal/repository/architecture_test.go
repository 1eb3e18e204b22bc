// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// drawnPackage finds a package in the picture of docs/architecture.md. A name that ends
// in "/*" stands for every package below a folder.
var drawnPackage = regexp.MustCompile(`(?:(?:cmd|internal|pkg|webhook)/[a-z0-9/_-]+\*?|  webhook(?:  |$))`)

// drawing returns the line of each package in the picture of docs/architecture.md,
// counted from the top.
func drawing(t *testing.T) map[string]int {
	t.Helper()
	_, section, found := strings.Cut(read(t, filepath.Join(root, "docs/architecture.md")), "\n## Layers\n")
	_, section, opened := strings.Cut(section, "```text\n")
	picture, _, closed := strings.Cut(section, "```")
	if !found || !opened || !closed {
		t.Fatal("docs/architecture.md has no picture below the heading Layers")
	}
	_, picture, _ = strings.Cut(picture, "\n") // without the names of the programs
	lines := map[string]int{}
	for number, line := range strings.Split(picture, "\n") {
		for _, name := range drawnPackage.FindAllString(line, -1) {
			name = strings.TrimSpace(name)
			if _, twice := lines[name]; twice {
				t.Errorf("docs/architecture.md draws %s twice", name)
			}
			lines[name] = number
		}
	}
	return lines
}

// drawn returns the name that pkg has in the picture, and its line.
func drawn(lines map[string]int, pkg string) (name string, line int, found bool) {
	if folder, _, inside := strings.Cut(pkg, "/internal/"); inside {
		if line, found = lines[folder+"/internal/*"]; found {
			return folder + "/internal/*", line, true
		}
	}
	line, found = lines[pkg]
	return pkg, line, found
}

// isForTests reports whether only tests use the package.
func isForTests(pkg string) bool {
	return under(pkg, "test/") || pkg == "internal/repository" || strings.HasSuffix(pkg, "test")
}

// TestArchitectureDrawsTheImports: the picture has each package of the product once, and
// each imports only packages on lines below its own.
func TestArchitectureDrawsTheImports(t *testing.T) {
	lines := drawing(t)
	packages := map[string]bool{}
	for _, file := range sources(t) {
		if file.isTest() || isForTests(file.dir()) {
			continue
		}
		name, line, found := drawn(lines, file.dir())
		if !found {
			if !packages[name] {
				t.Errorf("docs/architecture.md does not draw %s", name)
			}
			packages[name] = true
			continue
		}
		packages[name] = true
		for _, spec := range file.ast.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatalf("%s: import %s: %v", file.path, spec.Path.Value, err)
			}
			imported, ours := strings.CutPrefix(path, module+"/")
			if !ours {
				continue
			}
			below, lower, _ := drawn(lines, imported)
			if below != name && lower <= line {
				t.Errorf("%s:%d: %s imports %s, which docs/architecture.md does not draw below it", file.path, file.line(spec.Pos()), name, imported)
			}
		}
	}
	for name := range lines {
		if !packages[name] {
			t.Errorf("docs/architecture.md draws %s, which is not there", name)
		}
	}
}
