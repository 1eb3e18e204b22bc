// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// checkBundle expects what a running sidecar adds to a bundle, and no secret.
func (p *plugin) checkBundle(t *testing.T, files map[string]string, secret string) {
	t.Helper()
	prefix := "namespaces/" + p.namespace + "/"
	for name, want := range map[string]string{
		prefix + "app.yaml":                            "--shoot-pod-cidr=",
		prefix + "app.init-redirect.log":               "redirect verified",
		prefix + "app.proxy-client.log":                `"msg"`,
		prefix + "app.configuration.json":              `"--proxy-server"`,
		prefix + "app.state.json":                      `"phase"`,
		prefix + "app.check.json":                      `"verdict"`,
		prefix + "app.failures.json":                   `"failures"`,
		prefix + "crash.proxy-client.previous.log":     "carrier-pigeon",
		prefix + "events.txt":                          "Pod/crash",
		"webhook/deployment-proxy-client-webhook.yaml": "replicas",
		"webhook/config.yaml":                          "podCIDRs",
		"nodes.yaml":                                   "kubeletVersion",
		"report.json":                                  `"shoot-agents"`,
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("file %s of the bundle does not have %q: %.1000s\nnot collected: %s", name, want, files[name], files["not-collected.txt"])
		}
	}
	logs := 0
	for name := range files {
		if strings.HasPrefix(name, "webhook/") && strings.HasSuffix(name, ".webhook.log") {
			logs++
		}
	}
	if logs == 0 {
		t.Error("the bundle has no log of the webhook")
	}
	secrets := []string{secret, p.rig.Seed.Config.BearerToken}
	clientSecrets, err := p.rig.State.Konnectivity.ClientSecrets()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range clientSecrets {
		if key := s.Data[corev1.TLSPrivateKeyKey]; len(key) > 0 {
			secrets = append(secrets, strings.Split(string(key), "\n")[1])
		}
	}
	if len(secrets) < 3 {
		t.Fatal("the test has no key to look for")
	}
	for name, text := range files {
		for _, s := range secrets {
			if s != "" && strings.Contains(text, s) {
				t.Errorf("file %s of the bundle has a secret", name)
			}
		}
	}
}

// filesOf returns the files of a bundle, by their names in its folder.
func filesOf(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	zip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(zip); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(header.Name, "/")
		files[name] = string(text)
	}
}
