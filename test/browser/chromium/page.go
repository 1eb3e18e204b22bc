// SPDX-License-Identifier: Apache-2.0

package chromium

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// View is what a page is shown on.
type View struct {
	Width, Height int
	// Scale is the number of a screen's dots for one of the page's; 1 if zero.
	Scale float64
	// Dark, Forced and Still are what the person prefers: dark colours, few colours of
	// their own choice, and no motion.
	Dark, Forced, Still bool
}

// Page is a tab.
type Page struct {
	browser *Browser
	session string
	target  string

	mu       sync.Mutex // guards what follows
	problems []string
	asked    []string
}

// Open opens an empty tab.
func (b *Browser) Open(ctx context.Context, view View) (*Page, error) {
	var target struct {
		TargetID string `json:"targetId"`
	}
	if err := b.call(ctx, "", "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return nil, err
	}
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	err := b.call(ctx, "", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	if err != nil {
		return nil, err
	}
	p := &Page{browser: b, session: attached.SessionID, target: target.TargetID}
	b.mu.Lock()
	b.pages[p.session] = p
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		if err := p.call(ctx, domain+".enable", nil, nil); err != nil {
			return nil, err
		}
	}
	return p, p.Show(ctx, view)
}

// Show changes what the page is shown on.
func (p *Page) Show(ctx context.Context, view View) error {
	if view.Scale == 0 {
		view.Scale = 1
	}
	err := p.call(ctx, "Emulation.setDeviceMetricsOverride", map[string]any{
		"width": view.Width, "height": view.Height, "deviceScaleFactor": view.Scale, "mobile": view.Width < 500,
	}, nil)
	choose := func(yes bool, a, b string) string {
		if yes {
			return a
		}
		return b
	}
	return errors.Join(err, p.call(ctx, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{
		{"name": "prefers-color-scheme", "value": choose(view.Dark, "dark", "light")},
		{"name": "forced-colors", "value": choose(view.Forced, "active", "none")},
		{"name": "prefers-reduced-motion", "value": choose(view.Still, "reduce", "no-preference")},
	}}, nil))
}

// Close closes the tab.
func (p *Page) Close(ctx context.Context) error {
	return p.browser.call(ctx, "", "Target.closeTarget", map[string]any{"targetId": p.target}, nil)
}

// Go loads an address, and returns once the document and its scripts are loaded.
func (p *Page) Go(ctx context.Context, url string) error {
	var loaded struct {
		ErrorText string `json:"errorText"`
	}
	if err := p.call(ctx, "Page.navigate", map[string]any{"url": url}, &loaded); err != nil {
		return err
	}
	if loaded.ErrorText != "" {
		return fmt.Errorf("load %s: %s", url, loaded.ErrorText)
	}
	return p.Until(ctx, `document.readyState === "complete" && location.href !== "about:blank"`)
}

// Value computes a JavaScript expression, or waits for its promise, and decodes the value
// into result, which may be nil.
func (p *Page) Value(ctx context.Context, result any, expression string) error {
	var evaluated struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *exception `json:"exceptionDetails"`
	}
	err := p.call(ctx, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &evaluated)
	if err != nil {
		return fmt.Errorf("%.200s: %w", expression, err)
	}
	if evaluated.Exception != nil {
		return fmt.Errorf("%.200s: %s", expression, evaluated.Exception)
	}
	if result == nil || len(evaluated.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(evaluated.Result.Value, result)
}

// Until waits until an expression is true.
func (p *Page) Until(ctx context.Context, condition string) error {
	return lab.Poll(ctx, condition, func(ctx context.Context) error {
		var met bool
		if err := p.Value(ctx, &met, "Boolean("+condition+")"); err != nil {
			return err
		}
		if !met {
			var text string
			_ = p.Value(ctx, &text, "document.body.innerText") // for the report alone
			return fmt.Errorf("it is not so; the page says:\n%.1500s", text)
		}
		return nil
	})
}

// Click clicks on the middle of the first element that a CSS selector finds, as a mouse
// does.
func (p *Page) Click(ctx context.Context, selector string) error {
	var at struct{ X, Y float64 }
	err := p.Value(ctx, &at, fmt.Sprintf(`(() => {
		const node = document.querySelector(%q);
		node.scrollIntoView({ block: "center", behavior: "instant" });
		const box = node.getBoundingClientRect();
		return { X: box.x + box.width / 2, Y: box.y + box.height / 2 };
	})()`, selector))
	if err != nil {
		return err
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		err := p.call(ctx, "Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// Type enters a text into the element with the focus.
func (p *Page) Type(ctx context.Context, text string) error {
	return p.call(ctx, "Input.insertText", map[string]any{"text": text}, nil)
}

// Key presses a key by its name in JavaScript, such as Tab, and its code in Windows.
func (p *Page) Key(ctx context.Context, name string, code int) error {
	params := map[string]any{"type": "keyDown", "key": name, "code": name, "windowsVirtualKeyCode": code}
	if name == "Enter" {
		params["text"] = "\r"
	}
	if err := p.call(ctx, "Input.dispatchKeyEvent", params, nil); err != nil {
		return err
	}
	params["type"] = "keyUp"
	delete(params, "text")
	return p.call(ctx, "Input.dispatchKeyEvent", params, nil)
}

// Picture returns a picture of what is in sight, or of the whole page. The format is png,
// or webp, which is smaller and not exact.
func (p *Page) Picture(ctx context.Context, format string, whole bool) ([]byte, error) {
	var picture struct {
		Data []byte `json:"data"`
	}
	params := map[string]any{"format": format, "captureBeyondViewport": whole}
	if format == "webp" {
		params["quality"] = 80
	}
	err := p.call(ctx, "Page.captureScreenshot", params, &picture)
	return picture.Data, err
}

// Worked returns how long the page's main thread has run on a processor. Time in which
// other processes had the processor does not count.
func (p *Page) Worked(ctx context.Context) (time.Duration, error) {
	if err := p.call(ctx, "Performance.enable", map[string]string{"timeDomain": "threadTicks"}, nil); err != nil {
		return 0, err
	}
	var all struct {
		Metrics []struct {
			Name  string  `json:"name"`
			Value float64 `json:"value"`
		} `json:"metrics"`
	}
	if err := p.call(ctx, "Performance.getMetrics", nil, &all); err != nil {
		return 0, err
	}
	for _, m := range all.Metrics {
		if m.Name == "TaskDuration" {
			return time.Duration(m.Value * float64(time.Second)), nil
		}
	}
	return 0, errors.New("the answer of Performance.getMetrics has no TaskDuration")
}

// Problems returns what went wrong in the page so far: messages of the console that warn
// or report an error, exceptions, and violations of the policy.
func (p *Page) Problems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.problems)
}

// Forget forgets the problems so far.
func (p *Page) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = nil
}

// Asked returns the addresses that the page asked for, in order.
func (p *Page) Asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

func (p *Page) call(ctx context.Context, method string, params, result any) error {
	return p.browser.call(ctx, p.session, method, params, result)
}

// exception is what the protocol says of a JavaScript error.
type exception struct {
	Text      string `json:"text"`
	Exception struct {
		Description string `json:"description"`
	} `json:"exception"`
}

func (e exception) String() string { return strings.TrimSpace(e.Text + " " + e.Exception.Description) }

// event takes a report of Chromium. Fields of other events stay empty.
func (p *Page) event(method string, params json.RawMessage) {
	var e struct {
		Type string `json:"type"` // Runtime.consoleAPICalled
		Args []struct {
			Value       any    `json:"value"`
			Description string `json:"description"`
		} `json:"args"`
		Entry struct { // Log.entryAdded
			Level, Source, Text, URL string
		} `json:"entry"`
		Details exception            `json:"exceptionDetails"` // Runtime.exceptionThrown
		Request struct{ URL string } `json:"request"`          // Network.requestWillBeSent
	}
	problem := ""
	err := json.Unmarshal(params, &e)
	switch {
	case err != nil:
		problem = fmt.Sprintf("%s cannot be read: %v", method, err)
	case method == "Runtime.exceptionThrown":
		problem = "exception: " + e.Details.String()
	case method == "Runtime.consoleAPICalled" && slices.Contains([]string{"error", "warning", "assert"}, e.Type):
		problem = fmt.Sprintf("console %s: %v", e.Type, e.Args)
	case method == "Log.entryAdded" && (e.Entry.Level == "error" || e.Entry.Level == "warning"):
		problem = fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if problem != "" {
		p.problems = append(p.problems, problem)
	}
	if method == "Network.requestWillBeSent" {
		p.asked = append(p.asked, e.Request.URL)
	}
}
