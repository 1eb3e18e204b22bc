// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// TestStrict: exactly the warnings about the label become refusals.
func TestStrict(t *testing.T) {
	stream := read(t, "testdata/labels.yaml")
	options := testOptions(t)
	lax := Inject(stream, options)
	options.Strict = true
	strict := Inject(stream, options)
	if strict.Output != nil || len(strict.Outcomes) != len(lax.Outcomes) {
		t.Fatalf("%d objects became %d, and the output is %q", len(lax.Outcomes), len(strict.Outcomes), strict.Output)
	}
	refused := 0
	for i, o := range lax.Outcomes {
		asks := slices.ContainsFunc(o.Warnings, func(text string) bool { return strings.Contains(text, webhook.AnnotationPrefix) })
		if got := strict.Outcomes[i].Decision == webhook.Refuse; got != asks {
			t.Errorf("%s\nwarnings %q: refused is %v", o, o.Warnings, got)
		}
		if asks {
			refused++
			if got := append([]string{strict.Outcomes[i].Message}, strict.Outcomes[i].More...); !slices.Equal(got, o.Warnings) || len(strict.Outcomes[i].Warnings) > 0 {
				t.Errorf("of %q it says %q, and warns of %q", o.Warnings, got, strict.Outcomes[i].Warnings)
			}
		}
	}
	if refused < 20 || refused == len(lax.Outcomes) {
		t.Errorf("%d of %d objects are refused", refused, len(lax.Outcomes))
	}
}

// TestStrictRefusesForEachLabel: if two labels do nothing, both are reasons to refuse,
// also if the object is refused for another reason.
func TestStrictRefusesForEachLabel(t *testing.T) {
	options := testOptions(t)
	options.Strict = true
	for labels, want := range map[string]int{
		"labels: {shoot-proxy.io/injcet: a, shootproxy.io/inject: b}":                                    2,
		"labels: {shoot-proxy.io/inject: maybe, shoot-proxy.io/injcet: a, shootproxy.io/inject: 'true'}": 3,
	} {
		r := Inject([]byte("kind: Pod\napiVersion: v1\nmetadata: {"+labels+"}\nspec: {containers: [{name: a}]}\n"), options)
		var report, explained bytes.Buffer
		if err := errors.Join(r.Report(&report), r.Explain(&explained)); err != nil {
			t.Fatal(err)
		}
		if r.Refused() != 1 || strings.Count(report.String(), ": refused: ") != want || strings.Contains(report.String(), "warning") {
			t.Errorf("%s\n%s", labels, report.String())
		}
		if strings.Count(explained.String(), "refuse: ") != want || strings.Contains(explained.String(), "warning") {
			t.Errorf("%s\n%s", labels, explained.String())
		}
	}
}

// TestStrictAllowsWhatIsAnswered: a label that decides, and selectors for it, are
// accepted.
func TestStrictAllowsWhatIsAnswered(t *testing.T) {
	options := testOptions(t)
	options.Strict = true
	for _, stream := range []string{
		"kind: ConfigMap\napiVersion: v1\n",
		"kind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nspec: {podSelector: {matchLabels: {shoot-proxy.io/inject: \"true\"}}}\n",
		"kind: Prometheus\napiVersion: monitoring.coreos.com/v1\nspec: {podMetadata: {labels: {shoot-proxy.io/inject: \"false\"}}}\n",
		"kind: Deployment\napiVersion: apps/v1\nmetadata: {labels: {shoot-proxy.io/inject: \"true\"}}\nspec: {selector: {matchLabels: {shoot-proxy.io/inject: \"true\"}}, template: {metadata: {labels: {shoot-proxy.io/inject: \"true\"}}, spec: {containers: [{name: a}]}}}\n",
	} {
		if result := Inject([]byte(stream), options); result.Refused() > 0 {
			t.Errorf("%s\n%v", stream, result.Outcomes)
		}
	}
}

// TestNotes: if the label decides in one place, a place without effect is a note.
func TestNotes(t *testing.T) {
	const stream = "kind: Deployment\napiVersion: apps/v1\nmetadata: {labels: {shoot-proxy.io/inject: \"true\"}}\nspec: {selector: {matchLabels: {shoot-proxy.io/inject: \"true\"}}, template: {metadata: {labels: {shoot-proxy.io/inject: \"true\"}}, spec: {containers: [{name: a}]}}}\n"
	got := Inject([]byte(stream), testOptions(t)).Outcomes[0]
	notes := []string{
		`metadata.labels has shoot-proxy.io/inject "true", which does nothing there`,
		`spec.selector.matchLabels has shoot-proxy.io/inject "true", which selects objects and labels none`,
	}
	if !slices.Equal(got.Notes, notes) || len(got.Warnings) > 0 || got.Decision != webhook.Inject {
		t.Errorf("got %s, notes %q, warnings %q", got, got.Notes, got.Warnings)
	}
}

// TestKindsThatAreNotKnownStayAsTheyAre: unknown kinds stay the same byte for byte,
// whatever is reported.
func TestKindsThatAreNotKnownStayAsTheyAre(t *testing.T) {
	stream := read(t, "testdata/labels.yaml")
	if result := Inject(stream, testOptions(t)); !bytes.Equal(stream, result.Output) {
		t.Errorf("they become\n%s", result.Output)
	}
}

// TestUninjectSaysNothingOfTheLabel: uninject does not report the label.
func TestUninjectSaysNothingOfTheLabel(t *testing.T) {
	for _, o := range Uninject(read(t, "testdata/labels.yaml")).Outcomes {
		if len(o.Warnings)+len(o.Notes) > 0 {
			t.Errorf("%s: %q, %q", o, o.Warnings, o.Notes)
		}
	}
}

// TestDocumentHasEachController: docs/webhook.md has a row for each kind whose labels
// are copied to pods, with the path of the labels.
func TestDocumentHasEachController(t *testing.T) {
	document := string(read(t, "../testdata/repository/webhook.md"))
	_, section, found := strings.Cut(document, "\n## The label anywhere else\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !found {
		t.Fatal("docs/webhook.md has no section about the label anywhere else")
	}
	for _, c := range controllers() {
		for _, kind := range c.kinds {
			path := strings.TrimPrefix(c.labels, "spec.workflowSpec.")
			ok := slices.ContainsFunc(strings.Split(section, "\n"), func(row string) bool {
				return strings.Contains(row, "`"+kind+"`") && strings.Contains(row, path)
			})
			if !ok {
				t.Errorf("docs/webhook.md has no row with %s and %s", kind, path)
			}
		}
	}
	for kind := range workloads() {
		if !strings.Contains(section, kind) {
			t.Errorf("docs/webhook.md does not name %s", kind)
		}
	}
}

// TestLabelThatIsNoText: the value is reported as the manifest has it.
func TestLabelThatIsNoText(t *testing.T) {
	const stream = "apiVersion: example.com/v1\nkind: Schema\nproperties: {shoot-proxy.io/inject: {type: [string, null]}}\n"
	r := Inject([]byte(stream), testOptions(t))
	if got := r.Outcomes[0].Warnings; len(got) != 1 || !strings.Contains(got[0], `properties has shoot-proxy.io/inject {"type":["string",null]}: `) {
		t.Errorf("got %q", got)
	}
}

// TestUnquotedFalse: for false without quotes the advice is to quote it, and not to ask
// for an injection.
func TestUnquotedFalse(t *testing.T) {
	for value, want := range map[string]string{"false": `(write "false")`, "no": `(write "false")`, "true": `(write "true")`, "1": `(write "true")`} {
		r := Inject([]byte("apiVersion: example.com/v1\nkind: Database\nspec: {pods: {labels: {shoot-proxy.io/inject: "+value+"}}}\n"), testOptions(t))
		if got := r.Outcomes[0].Warnings; len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: got %q, want %s", value, got, want)
		}
	}
}
