// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/browser/chromium"
	"github.com/shoot-proxy/proxy-client/test/browser/sample"
	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// axe returns the source of axe-core, which `make test-browser` fetches.
func axe() (string, error) {
	_, testBin, err := lab.FindBinaries()
	if err != nil {
		return "", err
	}
	files, err := filepath.Glob(filepath.Join(testBin, "axe", "axe-*.min.js"))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("%s has %d versions of axe-core, want 1: `make test-browser` fetches it", filepath.Join(testBin, "axe"), len(files))
	}
	source, err := os.ReadFile(files[0])
	return string(source), err
}

// violation is what axe-core finds.
type violation struct {
	ID     string `json:"id"`
	Impact string `json:"impact"`
	Help   string `json:"help"`
	Nodes  []struct {
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

// wantAccessible fails the test for each violation of rules that axe-core finds in the
// page, or of all rules.
func (p *page) wantAccessible(what string, rules ...string) {
	p.t.Helper()
	options := map[string]any{"resultTypes": []string{"violations"}}
	if len(rules) > 0 {
		options["runOnly"] = rules
	}
	encoded, err := json.Marshal(options)
	if err != nil {
		p.t.Fatal(err)
	}
	text := value[string](p, fmt.Sprintf("axe.run(document, %s).then((found) => JSON.stringify(found))", encoded))
	var found struct {
		Violations []violation       `json:"violations"`
		Passes     []json.RawMessage `json:"passes"`
	}
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		p.t.Fatal(err)
	}
	if len(found.Passes) < 10 && len(found.Passes) != len(rules) {
		p.t.Errorf("%s: only %d rules of axe-core applied", what, len(found.Passes))
	}
	for _, v := range found.Violations {
		for _, node := range v.Nodes {
			p.t.Errorf("%s: %s (%s): %s\n  %.300s\n  %s", what, v.ID, v.Impact, v.Help, node.HTML, strings.ReplaceAll(node.Summary, "\n", "\n  "))
		}
	}
}

// isAccessible runs axe-core over the page in the states and views that it can have.
func isAccessible(t *testing.T, r *rig) {
	source, err := axe()
	labtest.Require(t, err)
	const colours = "color-contrast"
	m := r.serve(t, "127.0.0.1:0", trouble(20), nil)
	p := r.open(t, m.address, desktop)
	p.do(`document.querySelector("#connections").scrollIntoView({ behavior: "instant" })`)
	p.says("#connections", "20 connections")
	p.says("#history", "From the shoot: ")
	value[any](p, source+"; null")
	// Whatever is folded is opened.
	p.do(`document.querySelectorAll("details").forEach((node) => { node.open = true })`)
	p.click("#defaults")
	for _, view := range []chromium.View{desktop, phone} {
		what := fmt.Sprintf("width %d", view.Width)
		p.show(view)
		p.wantAccessible(what)
		if width := value[int](p, "document.documentElement.scrollWidth"); width > view.Width {
			t.Errorf("%s: the page is %d wide", what, width)
		}
		view.Dark = true // which changes nothing but colours
		p.show(view)
		p.wantAccessible(what+", dark", colours)
	}
	p.click("#drain-content > button")
	p.until(`document.querySelector("dialog[open]")`)
	p.wantAccessible("the question before a drain")

	well := sample.Sidecar{Instance: "well", Started: time.Now().Add(-time.Hour), Connections: 5}
	m = r.serve(t, "127.0.0.1:0", well, nil)
	p = r.open(t, m.address, desktop)
	p.says("#verdict", "All well")
	value[any](p, source+"; null")
	p.wantAccessible("all well", colours)
	p.show(chromium.View{Width: desktop.Width, Height: desktop.Height, Dark: true})
	p.wantAccessible("all well, dark", colours)

	// The check must be able to fail.
	p.do(`document.querySelector("#filter").closest("label").replaceWith(document.querySelector("#filter")); document.querySelector("#filter").removeAttribute("placeholder")`)
	if n := value[int](p, `axe.run(document, { runOnly: ["label"] }).then(({ violations }) => violations.length)`); n == 0 {
		t.Error("axe-core finds nothing wrong with a field without a label")
	}
}
