// SPDX-License-Identifier: Apache-2.0

package statuspage

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
)

// maxLines is that of the repository's Go files.
const maxLines = 400

// eachFile calls check with each file of the page.
func eachFile(t *testing.T, check func(name, text string)) {
	t.Helper()
	err := fs.WalkDir(files, "assets", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := files.ReadFile(name)
		if err == nil {
			check(name, string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesFollowTheRulesOfSources(t *testing.T) {
	eachFile(t, func(name, text string) {
		if head, _, _ := strings.Cut(text, "\n\n"); !strings.Contains(head, "SPDX-License-Identifier: Apache-2.0") {
			t.Errorf("%s does not begin with its license", name)
		}
		if lines := strings.Count(text, "\n"); lines > maxLines {
			t.Errorf("%s has %d lines, more than %d", name, lines, maxLines)
		}
	})
}

// What a peer sent must not become HTML, and the page must work without a network.
func TestFilesHaveNothingThatThePageMustNotDo(t *testing.T) {
	// A way to make HTML or code of a text, a style in an attribute, and an address of
	// another origin other than the name of SVG.
	forbidden := regexp.MustCompile(`(?i)\b(innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|DOMParser|document\.write|srcdoc|eval\(|new Function)|\bstyle=|'style'|@import|url\(|(https?:)?//[a-z0-9]+[.:][a-z0-9]`)
	if !forbidden.MatchString(`node.innerHTML = text`) || !forbidden.MatchString(`@import "https://example.com/x.css"`) {
		t.Fatal("the expression finds nothing")
	}
	eachFile(t, func(name, text string) {
		text = strings.ReplaceAll(text, "http://www.w3.org/2000/svg", "")
		for line := range strings.Lines(text) {
			if found := forbidden.FindString(line); found != "" {
				t.Errorf("%s has %q: %s", name, found, strings.TrimSpace(line))
			}
		}
	})
}

// Each file that another one names is there, with the type that a browser asks for.
func TestEveryReferenceLeadsToAFile(t *testing.T) {
	reference := regexp.MustCompile(`(?:href|src)="(assets/[^"]+)"|from '\./([^']+)'`)
	named := map[string]bool{"assets/index.html": true}
	eachFile(t, func(_, text string) {
		for _, match := range reference.FindAllStringSubmatch(text, -1) {
			if match[1] != "" {
				named[match[1]] = true
			} else {
				named[path.Join("assets", match[2])] = true
			}
		}
	})
	types := map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".html": "text/html; charset=utf-8"}
	for name := range named {
		w := httptest.NewRecorder()
		Assets().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+name, nil))
		if name == "assets/index.html" {
			continue // its place is /
		}
		if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != types[path.Ext(name)] {
			t.Errorf("%s: %d, type %q, want %q", name, w.Code, got, types[path.Ext(name)])
		}
	}
	eachFile(t, func(name, _ string) {
		if !named[name] {
			t.Errorf("no file refers to %s", name)
		}
	})
}

func TestIndexHasTheToken(t *testing.T) {
	index, err := Index(`to"ken`)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	index.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if want := `<meta name="drain-token" content="to&#34;ken">`; !strings.Contains(w.Body.String(), want) {
		t.Errorf("the page has no %s", want)
	}
}
