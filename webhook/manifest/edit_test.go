// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// TestWhatCannotBeEditedIsRefused: the refusal is one sentence with the next step, and
// the document is not written in another form.
func TestWhatCannotBeEditedIsRefused(t *testing.T) {
	const labels = `labels: {shoot-proxy.io/inject: "true"}`
	for _, tt := range []struct{ name, document, want string }{
		{"a key behind a question mark", "? metadata\n: " + labels + "\nspec: {containers: [{name: a}]}\n", "line 6 has a key without its colon: write that part in block style"},
		{"a key without its colon", "metadata: {" + labels + ", annotations}\nspec: {containers: [{name: a}]}\n", "write the pod in block style"},
		{"an anchor of nothing", "metadata:\n  " + labels + "\n  annotations: &a\nspec: {containers: [{name: a}]}\nx: *a\n", "without anchors"},
		{"an anchor that something else means", "metadata: &m\n  " + labels + "\nspec: {containers: [{name: a}]}\nx: *m\n", "write the aliases out"},
		{"line breaks of old machines", strings.ReplaceAll("metadata:\n  "+labels+"\nspec: {containers: [{name: a}]}\n", "\n", "\r"), "write the pod in block style"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			result := Inject([]byte("# one\nkind: First\n---\napiVersion: v1\nkind: Pod\n"+tt.document), testOptions(t))
			if result.Refused() != 1 || result.Output != nil {
				t.Fatalf("want a refusal and no output, got %v and\n%s", result.Outcomes, result.Output)
			}
			got := result.Outcomes[1].String()
			if !strings.Contains(got, "document 2: Pod: refused: the document cannot be edited: ") || !strings.Contains(got, tt.want) {
				t.Errorf("the sentence does not say %q: %s", tt.want, got)
			}
		})
	}
}

// TestTextThatBecomesTooLong: the sentence gives this reason, and no other.
func TestTextThatBecomesTooLong(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: app, labels: {shoot-proxy.io/inject: \"true\"}}\nspec: {containers: [{name: app, image: app}]}\n"
	filler := "# " + strings.Repeat("x", 1000) + "\n"
	text := pod + strings.Repeat(filler, (maxDocumentBytes-len(pod))/len(filler))
	r := Inject([]byte(text), testOptions(t))
	if len(r.Outcomes) != 1 || r.Outcomes[0].Decision != webhook.Refuse || !strings.Contains(r.Outcomes[0].Message, "longer than 8 MiB with what is inserted: split it") {
		t.Errorf("got %v", r.Outcomes)
	}
}
