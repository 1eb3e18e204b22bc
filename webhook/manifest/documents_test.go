// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// aPod is a pod that is injected. The first % is its name, the second the beginning of
// its spec.
const aPod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\n  labels: {shoot-proxy.io/inject: \"true\"}\nspec:\n%s  containers: [{name: app, image: registry.example/app}]\n"

// TestBadDocumentsAreOneSentence: each sentence says what is wrong and in which place,
// and there is no output.
func TestBadDocumentsAreOneSentence(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	tests := []struct {
		name, document string
		want           []string
	}{
		{"no YAML", "kind: Pod\nmetadata:\n  name: broken\n  labels: {a: [}\n", []string{"Pod broken", "does not parse", "near line 7", "a list in [ ] or a mapping in { } has no end"}},
		{"a template", "kind: Pod\nmetadata:\n  name: {{ .Release.Name }}\n", []string{"Pod", "has {{ outside of quotes (line 7)", "helm template"}},
		{"a template with a branch", "kind: Pod\n{{- if .Values.a }}\nspec: {}\n{{- end }}\n", []string{"Pod", "has {{ outside of quotes (line 6)", "helm template"}},
		{"a tab", "kind: Pod\nmetadata:\n\tname: broken\n", []string{"Pod", "does not parse", "line"}},
		{"keys twice", "kind: Pod\nmetadata: {name: a}\nspec: {}\nspec: {}\n", []string{"Pod", `"spec" twice`, "line 8"}},
		{"keys twice in JSON", `{"kind": "Pod", "spec": {"containers": [], "containers": [1]}}`, []string{`"containers" twice`}},
		{"too much of aliases", bomb, []string{"8 MiB", "aliases"}},
		{"too much text of aliases", "a: &a " + strings.Repeat("x", 1<<20) + "\nb: [*a, *a, *a, *a, *a, *a, *a, *a]\n", []string{"8 MiB", "aliases"}},
		{"an alias of itself", "a: &a [*a]\n", []string{"alias within its own anchor", "line 5"}},
		{"an unknown alias", "a: *b\n", []string{"does not parse", "alias *b has no anchor"}},
		{"too long", "# " + strings.Repeat("x", maxDocumentBytes) + "\nkind: Pod\n", []string{"8 MiB", "split it"}},
		{"not UTF-8", "kind: Pod\nmetadata: {name: \"\xff\"}\n", []string{"UTF-8"}},
		{"control characters", "kind: \"\x01\"\n", []string{"does not parse"}},
		{"infinite", "kind: Pod\nspec:\n  a: [1, {b: -.Inf}]\n", []string{"has -.Inf for spec.a[1].b (line 7)", "no number of JSON"}},
		{"no number", "a: .NaN\n", []string{"has .NaN for a (line 5)", "no number of JSON"}},
		{"a mapping for a key", "a:\n  ? {b: c}\n  : d\n", []string{"has a key in a that is no text (line 6)"}},
		{"nothing for a key", "~: d\n", []string{"has a key that is no text (line 5)"}},
		{"a tag that does not fit", "a: !!int b\n", []string{"is not what its tag says"}},
		{"a merge of a text", "<<: b\n", []string{"takes over something that is no mapping"}},
		{"something behind the separator", "kind: A\n--- {kind: Pod}\n", []string{"document 3", "behind its separator"}},
		{"no separator to YAML", "kind: A\ntext: \"\n---kind\"\n", []string{"begins with ---", "kubectl"}},
		{"two documents to YAML", "kind: A\r---\rkind: Pod\r", []string{"goes on where it should end"}},
		{"a text for a list", "kind: Pod\napiVersion: v1\nmetadata: {name: a, namespace: b}\nspec: {containers: text}\n", []string{"Pod b/a", `spec.containers has the text "text" where a list belongs`}},
		{"a text for a number", "kind: Job\napiVersion: batch/v1\nspec: {template: {spec: {priority: high}}}\n", []string{"Job", `spec.template.spec.priority has the text "high" where a whole number belongs`}},
		{"a number for a text", "kind: Pod\napiVersion: v1\nspec: {nodeName: 7}\n", []string{`spec.nodeName has 7 where a text belongs: write "7"`}},
		{"a number for a text, by its value", "kind: Pod\napiVersion: v1\nspec: {containers: [{env: [{name: a, value: 3}]}]}\n", []string{`its spec.containers[0].env[0].value has 3 where a text belongs: write "3"`}},
		{"a mapping for a text", "kind: Pod\napiVersion: v1\nmetadata: {name: {}}\n", []string{"metadata.name has a mapping where a text belongs: 'kubectl explain'"}},
		{"a label that YAML reads as false", "kind: Deployment\napiVersion: apps/v1\nspec: {template: {metadata: {labels: {a: b, app: n}}}}\n", []string{`its spec.template.metadata.labels.app has n, which YAML reads as false, where a text belongs: write "n"`}},
		{"a label that is true", "kind: Pod\napiVersion: v1\nmetadata: {labels: {app.kubernetes.io/name: a, shoot-proxy.io/inject: True}}\n", []string{`its metadata.labels[shoot-proxy.io/inject] has True, which YAML reads as true, where a text belongs: write "true"`}},
		{"an annotation of ours", "kind: Pod\napiVersion: v1\nmetadata: {annotations: {shoot-proxy.io/native-sidecar: no}}\n", []string{`native-sidecar] has no, which YAML reads as false, where a text belongs: write "false"`}},
		{"a number in base 8", "kind: List\napiVersion: v1\nitems: [{kind: Pod, apiVersion: v1, metadata: {annotations: {a.b/c: 010}}}]\n", []string{`its metadata.annotations[a.b/c] has 010, which YAML reads as 8, where a text belongs: write "010"`}},
		{"in an alias", "kind: Pod\napiVersion: v1\nspec: {nodeName: &a 7}\nmetadata: {labels: {a: *a}}\n", []string{`its metadata.labels.a has 7 where a text belongs: write "7"`}},
		{"a port's name", "kind: Pod\napiVersion: v1\nspec: {containers: [{name: a, ports: [{containerPort: 80}]}, {name: web, ports: [{containerPort: 81}, {containerPort: http}]}]}\n", []string{`its spec.containers[1].ports[1].containerPort (container web) has the text "http" where a whole number belongs: 'kubectl explain'`}},
		{"a port in quotes", "kind: Pod\napiVersion: v1\nspec: {initContainers: [{name: web, ports: [{containerPort: '80'}]}]}\n", []string{`its spec.initContainers[0].ports[0].containerPort (container web) has the text "80" where a whole number belongs: write 80, without quotes`}},
		{"true in quotes", "kind: Pod\napiVersion: v1\nspec: {hostPID: 'true'}\n", []string{`its spec.hostPID has the text "true" where true or false belongs: write true, without quotes`}},
		{"a number among texts", "kind: Pod\napiVersion: v1\nspec: {containers: [{args: [a, 0x10]}]}\n", []string{`its spec.containers[0].args[1] has 0x10, which YAML reads as 16, where a text belongs: write "0x10"`}},
		{"a list among texts", "kind: Pod\napiVersion: v1\nspec: {containers: [{args: [a, [b]]}]}\n", []string{`its spec.containers[0].args[1] has a list where a text belongs: 'kubectl explain'`}},
		{"a mapping of mappings for a list", "kind: Pod\napiVersion: v1\nspec: {containers: {a: {b: c}}}\n", []string{`its spec.containers has a mapping where a list belongs`}},
		{"a long text", "kind: Pod\napiVersion: v1\nspec: {hostPID: " + strings.Repeat("x", 1000) + "}\n", []string{"where true or false belongs"}},
		{"no whole number", "kind: Pod\napiVersion: v1\nspec: {terminationGracePeriodSeconds: 1.5}\n", []string{"spec.terminationGracePeriodSeconds has 1.5 where a whole number belongs"}},
		{"a number that is too large", "kind: Pod\napiVersion: v1\nspec: {priority: 99999999999}\n", []string{"spec.priority has 99999999999 where a whole number belongs"}},
		{"a field of Go's", "kind: Pod\napiVersion: v1\nspec: {containers: [{livenessProbe: {httpGet: {port: [1]}}}]}\n", []string{"its spec.containers[0].livenessProbe.httpGet.port has a list"}},
		{"a size that is none", "kind: Pod\napiVersion: v1\nspec: {volumes: [{emptyDir: {sizeLimit: much}}]}\n", []string{`its spec.volumes[0].emptyDir.sizeLimit "much" is not an amount`}},
		{"a list for an amount", "kind: Pod\napiVersion: v1\nspec: {containers: [{resources: {limits: {cpu: [1]}}}]}\n", []string{`its spec.containers[0].resources.limits.cpu "[1]" is not an amount`}},
		{"a time that is none", "kind: Pod\napiVersion: v1\nmetadata: {creationTimestamp: yesterday}\n", []string{`its metadata has "yesterday" for a time: write one such as 2006-01-02T15:04:05Z`}},
		{"a text for a mapping", "kind: Deployment\napiVersion: apps/v1\nspec: {template: text}\n", []string{"Deployment", "spec.template is not a mapping"}},
		{"escapes for the terminal", "kind: \"P\\e[2Jod\"\nitems: [{kind: Pod, apiVersion: v1, metadata: {name: \"\\e\\n\"}, spec: text}]\n", []string{": Pod ?: ", `its spec has the text "text" where a mapping belongs`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			result := Inject([]byte("# one\nkind: First\n---\n# two\n"+tt.document), testOptions(t))
			if result.Output != nil || result.Refused() != 1 {
				t.Errorf("want one document refused and no output, got %d refused and %q", result.Refused(), result.Output)
			}
			var report bytes.Buffer
			if err := result.Report(&report); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(report.String(), "\n"), "\n")
			got := lines[len(lines)-1]
			if len(lines) != len(result.Outcomes) || len(got) > 250 || strings.ContainsAny(got, "\x1b\r") {
				t.Errorf("want a line for each outcome, got\n%s", report.String())
			}
			for _, part := range append(tt.want, "refused: ") {
				if !strings.Contains(got, part) {
					t.Errorf("the sentence does not say %q: %s", part, got)
				}
			}
		})
	}
}

// TestCaseOfNamesIsTheServers: hostnetwork is not a field of a pod, so it is no reason
// to refuse.
func TestCaseOfNamesIsTheServers(t *testing.T) {
	for field, want := range map[string]webhook.Decision{"hostNetwork": webhook.Refuse, "HostNetwork": webhook.Inject, "hostnetwork": webhook.Inject} {
		result := Inject(fmt.Appendf(nil, aPod, "app", "  "+field+": true\n"), testOptions(t))
		if len(result.Outcomes) != 1 || result.Outcomes[0].Decision != want {
			t.Errorf("%s: true: want %s, got %v", field, want, result.Outcomes)
		}
	}
}

// TestMisspeltKinds: an object that may be meant as a workload is not skipped silently.
func TestMisspeltKinds(t *testing.T) {
	for head, want := range map[string]string{
		"kind: pod\napiVersion: v1\n":                  "no kind is called pod: did you mean Pod?",
		"kind: Deploymnt\napiVersion: apps/v1\n":       "no kind is called Deploymnt: did you mean Deployment?",
		"kind: Deployment\n":                           "it has no apiVersion, without which nothing knows it: write apps/v1",
		"kind: Job\napiVersion: batch.volcano.sh/v1\n": "inject knows no pod template of this kind",
		"kind: Jobs\napiVersion: example.io/v1\n":      "inject knows no pod template of this kind",
		"kind: Node\napiVersion: v1\n":                 "inject knows no pod template of this kind",
	} {
		result := Inject([]byte(head+"spec: {}\n"), testOptions(t))
		if got := result.Outcomes[0].Message; got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", head, got, want)
		}
	}
}

func TestNamespaces(t *testing.T) {
	inShop := object{namespace: "shop"}
	for want, o := range map[string]object{"shop": inShop, "default": {}} {
		if got := (&Options{}).namespace(o); got != want {
			t.Errorf("an object in %q is in %q", o.namespace, got)
		}
	}
	if got := (&Options{Namespace: "flag"}).namespace(inShop); got != "flag" {
		t.Errorf("the flag's namespace is %q", got)
	}
}

func TestUninjectRefusesAForeignStatus(t *testing.T) {
	stream := "kind: Pod\napiVersion: v1\nmetadata: {name: app, annotations: {shoot-proxy.io/status: mine}}\nspec: {}\n"
	result := Uninject([]byte(stream))
	if result.Refused() != 1 || result.Output != nil || !strings.Contains(result.Outcomes[0].String(), "shoot-proxy.io/status") {
		t.Errorf("want a refusal that names the annotation, got %v", result.Outcomes)
	}
}

// TestSplit: documents are split at the same places as by kubectl.
func TestSplit(t *testing.T) {
	tests := []struct {
		stream string
		want   []string // the bodies with content
	}{
		{"", nil},
		{"---\n---\n# no\n...\n", nil},
		{"\ufeffa: b", []string{"a: b"}},
		{"\ufeff---\na: b\n", []string{"a: b\n"}},
		{"a: b\n---\nc: d\n...\ne: f", []string{"a: b\n", "c: d\n", "e: f"}},
		{"--- # comment\r\na: b\r\n---\t\r\nc: d", []string{"a: b\r\n", "c: d"}},
		{"%YAML 1.1\n# directives\n%TAG ! !x\n--- \na: b\n", []string{"a: b\n"}},
		{"a: |\n  ---\n  ...\n---\nb: c\n", []string{"a: |\n  ---\n  ...\n", "b: c\n"}},
		{"{\"a\":1} {\"b\":\n2}\n\n---\n{\"c\":3}\n", []string{`{"a":1}`, "{\"b\":\n2}", `{"c":3}`}},
		{"{a: b}\n", []string{"{a: b}\n"}},
		{`{"a": 1} # YAML`, []string{`{"a": 1} # YAML`}},
		{`{"a": 1} []`, []string{`{"a": 1} []`}},
	}
	for _, tt := range tests {
		var got []string
		for _, d := range split([]byte(tt.stream)) {
			if d.problem != "" {
				t.Errorf("%q %s", tt.stream, d.problem)
			}
			if d.hasContent() {
				got = append(got, string(d.body))
			}
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", tt.stream, d)
		}
	}
}

// TestLinesAreTheStreams: line numbers in problems count from the beginning of the
// stream.
func TestLinesAreTheStreams(t *testing.T) {
	stream := "%YAML 1.1\n---\nL3: a\n---\n---\nL6: a\n...\n# L8\nL9: a\n---\n{\"L11\":1}\n{\"L12\":1}\n"
	for _, d := range split([]byte(stream)) {
		if !d.hasContent() {
			continue
		}
		body := bytes.TrimLeft(d.body, "{\"# ")
		if want := fmt.Sprintf("L%d", d.line); !bytes.HasPrefix(body, []byte(want)) {
			t.Errorf("%q does not begin in line %d", d.body, d.line)
		}
	}
}

// TestABreakIsNoPlace: "line break" in a parser's message is not a line number.
func TestABreakIsNoPlace(t *testing.T) {
	result := Inject([]byte("kind: |x\n"), testOptions(t))
	const want = "the document does not parse: did not find expected comment or line break"
	if got := result.Outcomes[0].Message; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestNothingIsAnOutput: an empty output is not nil, which would mean a refusal.
func TestNothingIsAnOutput(t *testing.T) {
	for name, r := range map[string]*Result{"Inject": Inject(nil, testOptions(t)), "Uninject": Uninject(nil)} {
		if r.Output == nil || len(r.Output) > 0 {
			t.Errorf("%s of nothing has the output %#v, want an empty one that is not nil", name, r.Output)
		}
	}
}
