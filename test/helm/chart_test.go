// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// TestBadValuesAreRefused: each file in testdata/bad has one mistake. Its first line is
// the sentence that helm must print about it.
func TestBadValuesAreRefused(t *testing.T) {
	for folder, pattern := range map[string]string{chart: "testdata/bad/*.yaml", exitChart: "testdata/exit/bad/*.yaml"} {
		checkBadValues(t, folder, pattern)
	}
}

func checkBadValues(t *testing.T, folder, pattern string) {
	for _, file := range files(t, pattern) {
		t.Run(filepath.Base(folder)+"/"+filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			first, _, _ := strings.Cut(read(t, file), "\n")
			words, ok := strings.CutPrefix(first, "# want: ")
			if !ok {
				t.Fatalf("%s does not begin with `# want: ` and what helm must say", file)
			}
			output, err := templateOf(t, folder, file)
			if err == nil {
				t.Fatalf("helm makes manifests of it:\n%s", output)
			}
			for word := range strings.SplitSeq(words, ", ") {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("helm does not say %q:\n%v", word, err)
				}
			}
		})
	}
}

func TestLint(t *testing.T) {
	for _, folder := range charts() {
		args := []string{"lint", folder, "--strict", "--namespace", namespace, "--kube-version", kubernetes}
		if output, err := run(t, args...); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
		for _, file := range files(t, folder+"/ci/*-values.yaml") {
			if _, err := run(t, append(args, "--values", file)...); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

func TestTemplate(t *testing.T) {
	names := map[string]bool{}
	for _, file := range files(t, chart+"/ci/*-values.yaml") {
		name := strings.TrimSuffix(filepath.Base(file), "-values.yaml")
		names[name+".yaml"] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := template(t, file)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, "testdata/golden/"+name+".yaml", text)
			objects := parse(t, text)
			checkObjects(t, objects)
			config, err := webhook.ParseConfig(file, []byte(configOf(t, objects)))
			if err != nil {
				t.Fatalf("the schema allows what the webhook refuses: %v", err)
			}
			checkRights(t, objects, config)
		})
	}
	for _, file := range files(t, "testdata/golden/*.yaml") {
		if !names[filepath.Base(file)] {
			t.Errorf("%s belongs to no file in %s/ci: remove it", file, chart)
		}
	}
}

// TestNotes renders the notes as a value of a manifest. Helm shows them only after an
// install, which needs a cluster.
func TestNotes(t *testing.T) {
	copied := chartOfNotes(t)
	exit := chartOfNotesOf(t, exitChart)
	for _, name := range []string{"defaults", "policy", "cert-manager"} {
		t.Run("exit "+name, func(t *testing.T) {
			t.Parallel()
			compare(t, "testdata/exit/notes/"+name+".txt", notes(t, exit, "--values", exitChart+"/ci/"+name+"-values.yaml"))
		})
	}
	for _, name := range []string{"defaults", "prometheus", "gardener", "small"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compare(t, "testdata/notes/"+name+".txt", notes(t, copied, "--values", chart+"/ci/"+name+"-values.yaml"))
		})
	}
}

// TestNotesAskForWhatIsMissing: the notes ask each namespace for what the values leave
// out, and for nothing else.
func TestNotesAskForWhatIsMissing(t *testing.T) {
	copied := chartOfNotes(t)
	asked := map[string]string{
		"shoot": "\n       shoot:", "addresses": "\n         addresses: [", "ca": "\n           caSecret: NAME", "client": "\n           clientSecret: NAME",
	}
	for missing := range asked {
		t.Run(missing, func(t *testing.T) {
			t.Parallel()
			var args []string
			for name, set := range map[string]string{
				"shoot": "config.shoot.podCIDRs={100.64.0.0/12}", "addresses": "config.proxyServer.addresses={vpn:8090}",
				"ca": "config.proxyServer.tls.caConfigMap=a", "client": "config.proxyServer.tls.clientSecret=b",
			} {
				if name != missing {
					args = append(args, "--set", set)
				}
			}
			said := notes(t, copied, args...)
			if !strings.Contains(said, "- ConfigMap shoot-proxy\n") {
				t.Errorf("no ConfigMap is asked for: %s", said)
			}
			for name, text := range asked {
				if strings.Contains(said, text) != (name == missing) {
					t.Errorf("%s is missing, and %q is in the notes or is not: %s", missing, text, said)
				}
			}
		})
	}
}

// TestNotesNameNoConfigMapThatIsNotRead: the notes name a ConfigMap only if the webhook can
// read it. If pods may not name one, that is shoot-proxy alone. Otherwise the notes ask for
// annotations with what is missing.
func TestNotesNameNoConfigMapThatIsNotRead(t *testing.T) {
	copied := chartOfNotes(t)
	for _, tt := range []struct{ name, maps, locked, want, not string }{
		{"another, named by pods", "{other}", "{pod-cidrs}", "- ConfigMap other, named in annotation shoot-proxy.io/config of each pod,", "- annotations"},
		{"another, that pods may not name", "{other}", "{config}", "- annotations of each pod", "ConfigMap other"},
		{"two, of which pods may name none", "{other,shoot-proxy}", "{config}", "- ConfigMap shoot-proxy\n", "- annotations"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			said := notes(t, copied, "--set", "config.proxyServer.addresses={vpn:8090}", "--set", "config.proxyServer.tls.caSecret=a", "--set", "config.proxyServer.tls.clientSecret=b",
				"--set", "config.policy.configMaps="+tt.maps, "--set", "config.policy.lockedFields="+tt.locked)
			if !strings.Contains(said, tt.want) || strings.Contains(said, tt.not) {
				t.Errorf("want %q and not %q: %s", tt.want, tt.not, said)
			}
		})
	}
}

// TestNotesWarnOfAnEmptyList: the notes warn of a list of CIDRs that the exclusions
// remove completely, as the webhook does.
func TestNotesWarnOfAnEmptyList(t *testing.T) {
	said := notes(t, chartOfNotes(t), "--set", "config.shoot.podCIDRs={10.1.0.0/16,10.2.0.0/16}",
		"--set", "config.shoot.nodeCIDRs={10.3.0.0/17}", "--set", "config.excludeCIDRs={10.1.0.0/16,10.3.0.0/18,10.3.64.0/18}")
	const want = "config.excludeCIDRs leaves nothing of config.shoot.nodeCIDRs: "
	if !strings.Contains(said, want) || strings.Count(said, "WARNING") != 1 {
		t.Errorf("want one warning, %s, and the notes are: %s", want, said)
	}
}

// TestNotesSayThatPodsStayAsTheyAre: the notes tell if the values leave labelled pods alone.
func TestNotesSayThatPodsStayAsTheyAre(t *testing.T) {
	copied := chartOfNotes(t)
	for value, want := range map[string]bool{"disabled": true, "enabled": false} {
		said := notes(t, copied, "--set", "config.inject="+value)
		if strings.Contains(said, "config.inject is disabled: pods with the label stay as they are") != want {
			t.Errorf("inject: %s, and the notes are: %s", value, said)
		}
	}
	// No ConfigMap can enable a pod here, so nothing has to be said in its place.
	said := notes(t, copied, "--set", "config.inject=disabled", "--set-json", "config.policy.configMaps=[]")
	if strings.Contains(said, "shoot-proxy.io/pod-cidrs") {
		t.Errorf("the notes ask for annotations of pods that stay as they are: %s", said)
	}
}

// chartOfNotes returns a copy of the chart that makes a manifest of its notes.
func chartOfNotes(t *testing.T) (folder string) {
	t.Helper()
	return chartOfNotesOf(t, chart)
}

// chartOfNotesOf is [chartOfNotes] for one of [charts].
func chartOfNotesOf(t *testing.T, of string) (folder string) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), filepath.Base(of))
	if err := os.CopyFS(copied, os.DirFS(of)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(copied+"/templates/NOTES.txt", copied+"/notes"); err != nil {
		t.Fatal(err)
	}
	write(t, copied+"/templates/notes.yaml", `notes: {{ tpl (.Files.Get "notes") . | quote }}`)
	return copied
}

// notes renders the notes of a [chartOfNotes] with arguments for helm.
func notes(t *testing.T, folder string, args ...string) string {
	t.Helper()
	text, err := run(t, append([]string{
		"template", filepath.Base(folder), folder, "--namespace", namespace, "--kube-version", kubernetes, "--show-only", "templates/notes.yaml",
	}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	said, _ := parse(t, text)[0]["notes"].(string)
	return said
}

// checkObjects checks what holds for all objects.
func checkObjects(t *testing.T, objects []object) {
	t.Helper()
	global := []string{"ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration"}
	var seen []string
	for _, o := range objects {
		kind, _ := o["kind"].(string)
		if slices.Contains(seen, o.name()) {
			t.Errorf("there are two of %s", o.name())
		}
		seen = append(seen, o.name())
		in, _ := o.at("metadata", "namespace").(string)
		if slices.Contains(global, kind) != (in == "") {
			t.Errorf("%s has namespace %q", o.name(), in)
		}
		if in != "" && in != namespace {
			t.Errorf("%s is in namespace %q, not the release's", o.name(), in)
		}
	}
}

// checkRights checks that the webhook may read only the listed ConfigMaps, and no Secret
// outside of its namespace. A rule without names would be for all of them.
func checkRights(t *testing.T, objects []object, config *webhook.Config) {
	t.Helper()
	var mayRead []string
	rules, _ := find(t, objects, "ClusterRole")["rules"].([]any)
	for _, r := range rules {
		rule := object(r.(map[string]any))
		resources := list(rule["resources"])
		if slices.Contains(resources, "secrets") || slices.Contains(resources, "*") {
			t.Errorf("the ClusterRole has a rule for %q", resources)
		}
		if !slices.Contains(resources, "configmaps") {
			continue
		}
		names := list(rule["resourceNames"])
		if len(names) == 0 {
			t.Error("the ClusterRole has a rule for ConfigMaps that names none, which means all of them")
		}
		if diff := cmp.Diff([]string{"get"}, list(rule["verbs"])); diff != "" {
			t.Errorf("verbs for ConfigMaps (-want +got):\n%s", diff)
		}
		mayRead = append(mayRead, names...)
	}
	if want := config.ConfigMaps(); strings.Join(want, ",") != strings.Join(mayRead, ",") {
		t.Errorf("the webhook reads ConfigMaps %q, and may read %q", want, mayRead)
	}
}

// configOf returns the InjectionConfig.
func configOf(t *testing.T, objects []object) string {
	t.Helper()
	for _, o := range objects {
		if text, ok := o.at("data", "config.yaml").(string); ok {
			return text
		}
	}
	t.Fatal("no ConfigMap has a config.yaml")
	return ""
}

func list(value any) []string {
	var all []string
	items, _ := value.([]any)
	for _, item := range items {
		text, _ := item.(string)
		all = append(all, text)
	}
	return all
}
