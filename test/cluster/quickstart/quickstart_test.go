// SPDX-License-Identifier: Apache-2.0

package quickstart

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../../.."

// TestManifestsNameTheVersionThatIsBuilt: the manifests name the version that is built.
func TestManifestsNameTheVersionThatIsBuilt(t *testing.T) {
	module, err := os.ReadFile(root + "/test/upstream/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`sigs\.k8s\.io/apiserver-network-proxy (v\S+)`).FindSubmatch(module)
	if version == nil {
		t.Fatal("test/upstream does not require apiserver-network-proxy")
	}
	for manifest, name := range map[string]string{
		"docs/quickstart/proxy-server.yaml":                                   "proxy-server",
		"docs/quickstart/proxy-agent.yaml":                                    "proxy-agent",
		"deploy/control-plane/server/server.yaml":                             "proxy-server",
		"deploy/control-plane/kube-apiserver/unix-socket/kube-apiserver.yaml": "proxy-server",
		"deploy/control-plane/agent/agent.yaml":                               "proxy-agent",
	} {
		got, err := imageOf(filepath.Join(root, manifest))
		if want := "registry.example/quickstart/" + name + ":" + string(version[1]); err != nil || got != want {
			t.Errorf("%s names the image %q (error %v), want %q", manifest, got, err, want)
		}
	}
}

func TestManifestsWithoutOneImageAreRefused(t *testing.T) {
	for text, want := range map[string]string{"kind: Pod\n": "names 0 images", "image: a\nimage: b\n": "names 2 images"} {
		path := filepath.Join(t.TempDir(), "manifest.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := imageOf(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("of %q: got %q, error %v; want %q", text, got, err, want)
		}
	}
}
