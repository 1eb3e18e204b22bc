// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/statusserver"
	"github.com/shoot-proxy/proxy-client/test/browser/sample"
)

// TestPage checks the page with made-up documents. Its parts share a browser, and each
// has a tab and a server.
func TestPage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	// These two keep the browser busy, which all tabs share. The others mostly wait.
	t.Run("moves 10,000 connections within 100 ms", func(t *testing.T) { movesManyConnections(t, r) })
	t.Run("is accessible", func(t *testing.T) { isAccessible(t, r) })
	for name, part := range map[string]func(*testing.T, *rig){
		"sorts and filters":                        sortsAndFilters,
		"shows texts of peers as texts":            showsTextsAsTexts,
		"goes on with the sidecar's next start":    goesOnWithNextStart,
		"blames what is to blame":                  blamesWhatIsToBlame,
		"disturbs nobody":                          disturbsNobody,
		"asks before it drains":                    asksBeforeItDrains,
		"asks nothing in the background":           asksNothingInBackground,
		"says everything without colours":          saysEverythingWithoutColours,
		"has words and tables beside its drawings": hasWordsBesideDrawings,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			part(t, r)
		})
	}
}

// shown returns a column of the rows that are in sight.
func shown(p *page, column string) []string {
	return value[[]string](p, fmt.Sprintf(`(() => {
		const table = document.querySelector(".virtual");
		const edge = table.querySelector(".head").getBoundingClientRect().bottom;
		return [...table.querySelectorAll(".rows .row:not([hidden])")]
			.filter((row) => row.getBoundingClientRect().top >= edge - 1)
			.sort((a, b) => a.getAttribute("aria-rowindex") - b.getAttribute("aria-rowindex"))
			.map((row) => row.querySelector(".%s .text").textContent);
	})()`, column))
}

// wantFirst fails the test if the first rows of a column are not those of connections.
func wantFirst(t *testing.T, p *page, column string, connections []status.Connection, text func(status.Connection) string) {
	t.Helper()
	const rows = 10
	got := shown(p, column)
	if len(got) < rows {
		t.Fatalf("the table shows %d rows, want %d or more", len(got), rows)
	}
	var want []string
	for _, c := range connections[:rows] {
		want = append(want, text(c))
	}
	if diff := gocmp.Diff(want, got[:rows]); diff != "" {
		t.Errorf("the first rows of column %s (-want +got):\n%s", column, diff)
	}
}

func destination(c status.Connection) string { return c.Destination }
func dialID(c status.Connection) string      { return c.DialID }

func sortsAndFilters(t *testing.T, r *rig) {
	m := r.serve(t, "127.0.0.1:0", sample.Sidecar{Instance: "sorts", Started: time.Now().Add(-time.Hour), Connections: 500}, nil)
	p := r.open(t, m.address, desktop)
	p.do(`document.querySelector("#connections").scrollIntoView({ behavior: "instant" })`)
	p.says("#connections", "500 connections")
	all := m.all()
	slices.SortStableFunc(all, func(a, b status.Connection) int { return cmp.Compare(b.DialSeconds, a.DialSeconds) })
	p.click("[role=columnheader].dial button")
	p.until(`document.querySelector("[role=columnheader].dial").getAttribute("aria-sort") === "descending"`)
	wantFirst(t, p, "id", all, dialID)
	slices.Reverse(all)
	p.click("[role=columnheader].dial button")
	p.until(`document.querySelector("[role=columnheader].dial").getAttribute("aria-sort") === "ascending"`)
	wantFirst(t, p, "id", all, dialID)

	// Addresses are in the order of their numbers: 10.250.0.9 before 10.250.0.10.
	slices.SortStableFunc(all, func(a, b status.Connection) int {
		return cmp.Or(cmp.Compare(numbers(a.Destination), numbers(b.Destination)), cmp.Compare(a.ID, b.ID))
	})
	p.click("[role=columnheader].destination button")
	wantFirst(t, p, "destination", all, destination)

	p.filter("10.250 :10250")
	kubelets := slices.DeleteFunc(slices.Clone(all), func(c status.Connection) bool {
		return !strings.Contains(c.Destination, "10.250") || !strings.HasSuffix(c.Destination, ":10250")
	})
	if len(kubelets) < 20 || len(kubelets) > 400 {
		t.Fatalf("%d of the made-up connections pass the filter, so the test proves nothing", len(kubelets))
	}
	p.says("#connections", fmt.Sprintf("%d of 500 connections", len(kubelets)))
	wantFirst(t, p, "destination", kubelets, destination)
	p.filter("no such thing")
	p.says("#connections", "0 of 500 connections pass the filter")
	p.filter("")
	p.says("#connections", "500 connections,")
}

// numbers pads the numbers of a text, so that texts compare as their numbers do.
func numbers(text string) string {
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == '.' || r == ':' })
	for i, part := range parts {
		parts[i] = fmt.Sprintf("%5s", part)
	}
	return strings.Join(parts, " ")
}

// showsTextsAsTexts puts HTML into every text that a peer can choose.
func showsTextsAsTexts(t *testing.T, r *rig) {
	const hostile = `<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>`
	sidecar := trouble(5)
	m := r.serve(t, "127.0.0.1:0", sidecar, func(d *statusserver.Documents) {
		d.Failures = func() []status.Failure {
			f := sidecar.Failures(time.Now())[:1]
			f[0].Error, f[0].Cure, f[0].Destination, f[0].Reason, f[0].DialID, f[0].Source = "error"+hostile, "cure"+hostile, "to"+hostile, "reason"+hostile, hostile, hostile
			return f
		}
		state := d.State
		d.State = func() status.State {
			s := state()
			s.Servers[1].Cause, s.Servers[1].Next, s.Servers[1].Name = "cause"+hostile, "next"+hostile, "server"+hostile
			s.Servers[0].Endpoints[1].Error = "endpoint" + hostile
			s.Certificates[1].Subject, s.Certificates[1].Issuer, s.Certificates[1].Problem = "subject"+hostile, hostile, "problem"+hostile
			s.Redirect[0].OK, s.Redirect[0].Error, s.Redirect[0].Next = false, "probe"+hostile, "then"+hostile
			return s
		}
	})
	p := r.open(t, m.address, desktop)
	for _, text := range []string{"error", "cure", "to", "reason", "cause", "next", "server", "endpoint", "subject", "problem", "probe", "then"} {
		p.until(fmt.Sprintf(`document.querySelector("main").textContent.toLowerCase().includes(%q.toLowerCase())`, text+hostile))
	}
	if n := value[int](p, `document.querySelectorAll("img, main script").length`); n != 0 {
		t.Errorf("%d elements were made of a peer's text", n)
	}
	if title := value[string](p, "document.title"); strings.Contains(title, "taken") {
		t.Error("a script in a peer's text has run")
	}
	// The policy would also stop a script of the page that makes HTML of a text.
	p.wantNoProblems()
	if value[bool](p, `(() => { try { document.createElement("p").innerHTML = "<b>bold</b>"; return true } catch { return false } })()`) {
		t.Error("a script could make HTML of a text")
	}
	p.expect("Trusted")
}

// goesOnWithNextStart ends the server, and starts another instance at its address.
func goesOnWithNextStart(t *testing.T, r *rig) {
	const address = "127.0.0.1:14200"
	first := r.serve(t, address, trouble(40), nil)
	p := r.open(t, address, desktop)
	p.do(`document.querySelector("#connections").scrollIntoView({ behavior: "instant" })`)
	p.says("#connections", "40 connections")
	p.says("#failures", "10.250.0.17:10250")
	p.filter("10.")
	first.stop()
	p.says("#verdict", "has not answered since")
	p.says("#failures", "10.250.0.17:10250") // what is old stays
	well := sample.Sidecar{Instance: "second", Started: time.Now(), Connections: 7}
	r.serve(t, address, well, nil)
	p.says("#verdict", "All well")
	p.says("#restart", "The sidecar was started again")
	p.says("#connections", "7 connections")
	p.says("#failures", "No connection has failed")
	if text := value[string](p, `document.querySelector("#filter").value`); text != "10." {
		t.Errorf("the filter is %q after the restart, want 10.", text)
	}
	// Rates begin anew: with the first instance's bytes they would be negative or huge.
	if rates := shown(p, "rate"); slices.ContainsFunc(rates, func(rate string) bool { return strings.Contains(rate, "GiB") || strings.Contains(rate, "-") }) {
		t.Errorf("rates after the restart: %q", rates)
	}
	p.expect(refused)
}

func asksBeforeItDrains(t *testing.T, r *rig) {
	m := r.serve(t, "127.0.0.1:0", trouble(12), nil)
	p := r.open(t, m.address, desktop)
	p.says("#verdict", "vpn-proxy-server-b:8090")
	p.do(`document.querySelector("#drain-content > button").focus()`)
	p.key("Enter", 13)
	p.says("dialog[open]", "12 connections, has 20s (--drain-timeout) to end")
	if text := value[string](p, "document.activeElement.innerText"); text != "Cancel" {
		t.Errorf("the button with the focus is %q; a second Enter must not drain", text)
	}
	p.key("Escape", 27)
	p.until(`!document.querySelector("dialog[open]")`)
	p.key("Enter", 13)
	p.until(`document.querySelector("dialog[open]")`)
	p.key("Enter", 13) // on Cancel
	p.until(`!document.querySelector("dialog[open]")`)
	if n := m.drains.Load(); n != 0 {
		t.Errorf("%d drains without a confirmation", n)
	}
	p.click("#drain-content > button")
	p.until(`document.querySelector("dialog[open]")`)
	p.click("dialog .danger")
	p.says("#drain [role=status]", "The drain has begun.")
	if n := m.drains.Load(); n != 1 {
		t.Errorf("%d drains after the confirmation, want 1", n)
	}
}

func asksNothingInBackground(t *testing.T, r *rig) {
	m := r.serve(t, "127.0.0.1:0", trouble(12), nil)
	p := r.open(t, m.address, desktop)
	asked := func() int { return len(p.Asked()) }
	pass := func() { value[any](p, "new Promise((done) => setTimeout(done, 2500))") }
	p.says("#verdict", "vpn-proxy-server-b:8090")
	// An empty page is short, so the list of connections is in sight until the rest is there.
	before, lists := asked(), m.lists.Load()
	pass()
	if n := asked() - before; n < 2 {
		t.Errorf("%d requests in 2.5 s of a visible page: the control experiment failed", n)
	}
	if n := m.lists.Load() - lists; n != 0 {
		t.Errorf("%d lists of connections while these are not in sight", n)
	}
	p.do(`Object.defineProperty(document, "visibilityState", { get: () => "hidden", configurable: true }); document.dispatchEvent(new Event("visibilitychange"))`)
	before = asked()
	pass()
	if n := asked() - before; n > 0 {
		t.Errorf("%d requests in 2.5 s of a page in the background", n)
	}
	p.do(`delete document.visibilityState; document.dispatchEvent(new Event("visibilitychange"))`)
	before = asked()
	p.until(fmt.Sprintf("performance.getEntriesByType('resource').length > %d", before))
	p.click("#pause")
	p.says("#freshness", "paused at")
	before = asked()
	pass()
	if n := asked() - before; n > 0 {
		t.Errorf("%d requests in 2.5 s of a paused page", n)
	}
}

func saysEverythingWithoutColours(t *testing.T, r *rig) {
	m := r.serve(t, "127.0.0.1:0", trouble(12), nil)
	view := desktop
	view.Forced = true
	p := r.open(t, m.address, view)
	for _, words := range []string{"good", "failed, tried last for", "unreachable for", "down"} {
		p.says("#servers", words)
	}
	p.says("#certificates", "expires in 5 d")
	p.says("#redirect", "is redirected")
	shapes := value[int](p, `new Set([...document.querySelectorAll("#servers .mark path")].map((path) => path.getAttribute("d"))).size`)
	if shapes != 3 {
		t.Errorf("the servers have %d shapes for good, failed and unreachable, want 3", shapes)
	}
}

func hasWordsBesideDrawings(t *testing.T, r *rig) {
	m := r.serve(t, "127.0.0.1:0", trouble(12), nil)
	p := r.open(t, m.address, desktop)
	p.says("#history", "From the shoot: ")
	labels := value[[]string](p, `[...document.querySelectorAll(".plot")].map((plot) => plot.getAttribute("aria-label"))`)
	for i, title := range []string{"Throughput", "Dials", "Dial time", "Held back"} {
		if i >= len(labels) || !strings.HasPrefix(labels[i], title+". ") || !strings.Contains(labels[i], "at most") {
			t.Errorf("the labels of the plots are %q, and number %d is not that of %s with words", labels, i, title)
		}
	}
	p.click("#history figure:first-child summary")
	p.until(`document.querySelectorAll("#history figure:first-child tbody tr").length >= 15`)
}

// disturbsNobody: a screen reader reads a live region aloud whenever its text changes. So
// it must not change while nothing happens.
func disturbsNobody(t *testing.T, r *rig) {
	moment := time.Now()
	sidecar := trouble(12)
	m := r.serve(t, "127.0.0.1:0", sidecar, func(d *statusserver.Documents) {
		// The clock goes on, and nothing else happens.
		d.Failures = func() []status.Failure { return sidecar.Failures(moment) }
	})
	p := r.open(t, m.address, desktop)
	p.says("#verdict", "10.250.0.17:10250")
	p.do(`document.querySelector("#connections").scrollIntoView({ behavior: "instant" })`)
	p.says("#connections", "12 connections")
	p.filter("10.250")
	p.until(`document.querySelector("#connections .unseen").textContent.includes("of 12 connections")`)
	value[any](p, `new Promise((done) => {
		globalThis.changes = [];
		const watch = new MutationObserver((all) => all.forEach(({ target }) => changes.push(target.textContent)));
		document.querySelectorAll("[role=status], [aria-live]").forEach((node) => watch.observe(node, { subtree: true, childList: true, characterData: true }));
		setTimeout(done, 2500);
	})`)
	if changes := value[[]string](p, "changes"); len(changes) != 0 {
		t.Errorf("live regions changed %d times while nothing happened: %q", len(changes), changes)
	}
	p.filter("no such thing")
	p.until("changes.length > 0")
}
