// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/shoot-proxy/proxy-client/test/helm/manifests"
	"github.com/shoot-proxy/proxy-client/webhook"
)

const deploy = root + "/deploy"

// TestManifestsAreUpToDate: the manifests of deploy are the chart with its defaults. The
// configuration is a file of its own, from which kustomize makes the ConfigMap.
func TestManifestsAreUpToDate(t *testing.T) {
	text, err := template(t)
	if err != nil {
		t.Fatal(err)
	}
	objects, config, err := manifests.Split(text)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, deploy+"/webhook.yaml", objects)
	compare(t, deploy+"/config.yaml", config)
}

// kustomizeBuild does the first step of `kubectl apply -k`.
func kustomizeBuild(t *testing.T, dir string) []object {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatalf("kustomize build %s: %v", dir, err)
	}
	text, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(text))
}

// TestKustomizeMakesWhatHelmInstalls: kubectl applies the same objects as helm installs.
// Only helm's own labels differ, and the name of the ConfigMap, which changes with its
// content.
func TestKustomizeMakesWhatHelmInstalls(t *testing.T) {
	text, err := template(t)
	if err != nil {
		t.Fatal(err)
	}
	byName := func(objects []object) map[string]object {
		all := map[string]object{}
		for _, o := range objects {
			all[o.name()] = o
		}
		return all
	}
	got, want := byName(kustomizeBuild(t, deploy)), byName(parse(t, manifests.WithoutHelm(text)))

	const name = "proxy-client-webhook-config"
	var hashed string
	for found, o := range got {
		if strings.HasPrefix(found, "ConfigMap/"+name+"-") {
			hashed = strings.TrimPrefix(found, "ConfigMap/")
			if _, err := webhook.ParseConfig("deploy/config.yaml", []byte(configOf(t, []object{o}))); err != nil {
				t.Error(err)
			}
			delete(got, found)
		}
	}
	if hashed == "" {
		t.Fatalf("kustomize makes no ConfigMap %s-HASH", name)
	}
	delete(want, "ConfigMap/"+name)
	volumes, _ := got["Deployment/proxy-client-webhook"].at("spec", "template", "spec", "volumes").([]any)
	renamed := 0
	for _, volume := range volumes {
		v, _ := volume.(map[string]any)
		if source, ok := v["configMap"].(map[string]any); ok && source["name"] == hashed {
			source["name"] = name
			renamed++
		}
	}
	if renamed != 1 {
		t.Errorf("%d volumes of the Deployment are of ConfigMap %s, want 1", renamed, hashed)
	}
	if _, ok := got["Namespace/"+namespace]; !ok {
		t.Errorf("there is no Namespace %s", namespace)
	}
	delete(got, "Namespace/"+namespace)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kubectl apply -k makes something else than helm install (-helm +kubectl):\n%s", diff)
	}
}
