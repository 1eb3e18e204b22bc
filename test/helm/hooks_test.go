// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"strings"
	"testing"
)

// hooks renders what `helm test` makes.
func hooks(t *testing.T, values string) (text string, objects []object) {
	t.Helper()
	text, err := run(t, "template", release, chart, "--namespace", namespace, "--kube-version", kubernetes,
		"--show-only", "templates/tests/check.yaml", "--values", values)
	if err != nil {
		t.Fatal(err)
	}
	return text, parse(t, text)
}

func TestHooks(t *testing.T) {
	for _, name := range []string{"defaults", "everything", "openshift"} {
		text, objects := hooks(t, chart+"/ci/"+name+"-values.yaml")
		compare(t, "testdata/hooks/"+name+".yaml", text)
		for _, o := range objects {
			if o.at("metadata", "annotations", "helm.sh/hook") != "test" {
				t.Errorf("%s: %s would be installed", name, o.name())
			}
			policy, _ := o.at("metadata", "annotations", "helm.sh/hook-delete-policy").(string)
			if removed := strings.Contains(policy, "hook-succeeded") && strings.Contains(policy, "hook-failed"); removed != (o["kind"] != "Pod") {
				t.Errorf("%s: %s is removed %q", name, o.name(), policy)
			}
		}
	}
}

// TestNoSelectorMeansATest: the Service sends no request to the pod of a test, and the
// Deployment does not adopt it.
func TestNoSelectorMeansATest(t *testing.T) {
	values := chart + "/ci/defaults-values.yaml"
	text, err := template(t, values)
	if err != nil {
		t.Fatal(err)
	}
	selector, _ := find(t, parse(t, text), "Service").at("spec", "selector").(map[string]any)
	_, objects := hooks(t, values)
	labels, _ := find(t, objects, "Pod").at("metadata", "labels").(map[string]any)
	differs := false
	for key, value := range selector {
		differs = differs || labels[key] != value
	}
	if !differs || len(selector) == 0 {
		t.Errorf("selector %v means a pod with labels %v", selector, labels)
	}
}
