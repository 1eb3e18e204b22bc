// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../../../.."

// The manifests name the version that is built.
func TestManifestsNameTheVersionThatIsBuilt(t *testing.T) {
	module, err := os.ReadFile(root + "/test/upstream/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`sigs\.k8s\.io/apiserver-network-proxy (v\S+)`).FindSubmatch(module)
	if version == nil {
		t.Fatal("test/upstream does not require apiserver-network-proxy")
	}
	for name := range manifests() {
		got, err := imageOf(filepath.Join(root, "docs", "quickstart", name+".yaml"))
		if want := "registry.example/quickstart/" + name + ":" + string(version[1]); err != nil || got != want {
			t.Errorf("%s names the image %q (error %v), want %q", name, got, err, want)
		}
	}
}

func TestManifestsWithoutOneImageAreRefused(t *testing.T) {
	for name, text := range map[string]string{"none": "kind: Pod\n", "two": "image: a\nimage: b\n"} {
		path := filepath.Join(t.TempDir(), "manifest.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := imageOf(path); err == nil || !strings.Contains(err.Error(), "has to name one image") {
			t.Errorf("%s: got %q, error %v", name, got, err)
		}
	}
}
