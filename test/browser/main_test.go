// SPDX-License-Identifier: Apache-2.0

// Package browser tests the status page in a real Chromium: with a real sidecar in the
// lab, and with the real handler and made-up documents.
package browser

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/browser/chromium"
	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// hang bounds a wait for which nothing promises a time.
const hang = time.Minute

// refused is how Chromium reports a request to a process that has ended or ends: mostly
// net::ERR_CONNECTION_REFUSED.
const refused = "Failed to load resource: net::ERR_"

// Views that a person may have.
var (
	desktop = chromium.View{Width: 1280, Height: 900}
	phone   = chromium.View{Width: 360, Height: 740}
)

func TestMain(m *testing.M) {
	code := m.Run()
	if left := lab.Leftovers(); len(left) != 0 {
		fmt.Fprintf(os.Stderr, "FAIL: the tests left on the machine: %q\n", left)
		code = max(code, 1)
	}
	os.Exit(code)
}

// rig is a lab with a browser in the client's pod.
type rig struct {
	*lab.Lab
	targets *target.Targets
	browser *chromium.Browser
}

func newRig(t *testing.T) *rig {
	t.Helper()
	labtest.RequireRoot(t)
	labtest.Require(t, chromium.Available())
	l, targets := labtest.New(t, lab.Options{})
	browser, err := chromium.Start(labtest.Context(t, hang), l.Pod, profile(l))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := browser.Close(); err != nil {
			t.Errorf("end Chromium: %v", err)
		}
	})
	return &rig{Lab: l, targets: targets, browser: browser}
}

func profile(l *lab.Lab) string { return filepath.Join(l.Dir, "chromium") }

// page is a tab whose steps end the test if they fail.
type page struct {
	*chromium.Page
	t      *testing.T
	origin string
	// mayRefuse tells that the sidecar has ended, so its port refuses connections.
	mayRefuse bool
}

// open loads the status page. When the test ends, it fails if the page had problems that
// expect did not take, or asked another origin.
func (r *rig) open(t *testing.T, address string, view chromium.View) *page {
	t.Helper()
	tab, err := r.browser.Open(labtest.Context(t, hang), view)
	if err != nil {
		t.Fatal(err)
	}
	p := &page{Page: tab, t: t, origin: "http://" + address}
	t.Cleanup(func() {
		p.wantNoProblems()
		p.wantOwnOrigin()
		if t.Failed() {
			p.keepPicture()
		}
		if err := p.Close(context.Background()); err != nil {
			t.Errorf("close the page: %v", err)
		}
	})
	if err := p.Go(labtest.Context(t, hang), p.origin+"/"); err != nil {
		t.Fatal(err)
	}
	return p
}

// until waits until a JavaScript expression is true.
func (p *page) until(condition string) {
	p.t.Helper()
	if err := p.Until(labtest.Context(p.t, hang), condition); err != nil {
		p.t.Fatal(err)
	}
}

// says waits until an element has a text.
func (p *page) says(selector, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("document.querySelector(%q)?.innerText.includes(%q)", selector, text))
}

// value computes a JavaScript expression.
func value[T any](p *page, expression string) T {
	p.t.Helper()
	var result T
	if err := p.Value(labtest.Context(p.t, hang), &result, expression); err != nil {
		p.t.Fatal(err)
	}
	return result
}

// do runs JavaScript for its effect.
func (p *page) do(statement string) {
	p.t.Helper()
	value[any](p, "(() => { "+statement+" })()")
}

func (p *page) click(selector string) {
	p.t.Helper()
	if err := p.Click(labtest.Context(p.t, hang), selector); err != nil {
		p.t.Fatal(err)
	}
}

// filter replaces what the filter of the connections has.
func (p *page) filter(text string) {
	p.t.Helper()
	p.do(`const field = document.querySelector("#filter"); field.focus(); field.select()`)
	if text == "" {
		p.key("Delete", 46)
		return
	}
	if err := p.Type(labtest.Context(p.t, hang), text); err != nil {
		p.t.Fatal(err)
	}
}

func (p *page) key(name string, code int) {
	p.t.Helper()
	if err := p.Key(labtest.Context(p.t, hang), name, code); err != nil {
		p.t.Fatal(err)
	}
}

func (p *page) show(view chromium.View) {
	p.t.Helper()
	if err := p.Show(labtest.Context(p.t, hang), view); err != nil {
		p.t.Fatal(err)
	}
}

// expect takes the problems so far, each of which must contain text. There must be one.
func (p *page) expect(text string) {
	p.t.Helper()
	problems := p.Problems()
	p.Forget()
	if len(problems) == 0 {
		p.t.Errorf("the page has no problem with %q", text)
	}
	for _, problem := range problems {
		if !strings.Contains(problem, text) {
			p.t.Errorf("the page has a problem: %s", problem)
		}
	}
}

// wantNoProblems fails the test if the page had problems that no call of expect took.
func (p *page) wantNoProblems() {
	p.t.Helper()
	for _, problem := range p.Problems() {
		if !p.mayRefuse || !strings.Contains(problem, refused) {
			p.t.Errorf("the page has a problem: %s", problem)
		}
	}
}

// wantOwnOrigin fails the test if the page asked for anything from elsewhere.
func (p *page) wantOwnOrigin() {
	asked := p.Asked()
	if !slices.Contains(asked, p.origin+"/state") {
		p.t.Errorf("the page never asked for /state: the record of its requests is wrong: %q", asked)
	}
	for _, address := range asked {
		if u, err := url.Parse(address); err != nil || u.Scheme+"://"+u.Host != p.origin {
			p.t.Errorf("the page asked another origin: %s", address)
		}
	}
}

// keepPicture writes a picture of the page to the folder PICTURES of the environment.
func (p *page) keepPicture() {
	folder := os.Getenv("PICTURES")
	if folder == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	png, err := p.Picture(ctx, "png", true)
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, strings.ReplaceAll(p.t.Name(), "/", "-")+".png"), png, 0o644)
	}
	if err != nil {
		p.t.Logf("no picture of the failure: %v", err)
	}
}
