// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/defaults"
)

// ourNumber finds what could be a port or the uid of proxy-client.
var ourNumber = regexp.MustCompile(`\b140[0-9]{2}\b`)

// TestDocumentsHaveOurPortsAndUID: what cannot read package defaults has its numbers: the
// documents, the chart and the image.
func TestDocumentsHaveOurPortsAndUID(t *testing.T) {
	ours := []string{fmt.Sprint(defaults.AdminPort), fmt.Sprint(defaults.ProxyPort), fmt.Sprint(defaults.HealthPort), fmt.Sprint(defaults.ProxyUID)}
	found := map[string]bool{}
	walk(t, func(path string) {
		name := filepath.Base(path)
		if ext := filepath.Ext(name); ext != ".md" && ext != ".svg" && ext != ".tpl" && name != "Dockerfile" {
			return
		}
		for i, line := range strings.Split(read(t, path), "\n") {
			for _, number := range ourNumber.FindAllString(line, -1) {
				found[number] = true
				if !slices.Contains(ours, number) {
					t.Errorf("%s:%d has %s, which is none of ours: %v", path, i+1, number, ours)
				}
			}
		}
	})
	for _, number := range ours {
		if !found[number] {
			t.Errorf("no document has %s", number)
		}
	}
	for file, lines := range map[string][]string{
		"Dockerfile": {fmt.Sprintf("USER %[1]d:%[1]d", defaults.ProxyUID)},
		"README.md": {
			fmt.Sprintf("containerPort: %d,", defaults.HealthPort), fmt.Sprintf("port: %d}", defaults.HealthPort),
			fmt.Sprintf("runAsUser: %d ", defaults.ProxyUID), fmt.Sprintf("runAsGroup: %d\n", defaults.ProxyUID),
			fmt.Sprintf("`127.0.0.1:%[1]d`, `[::1]:%[1]d`", defaults.ProxyPort),
		},
		"charts/proxy-client/templates/_settings.tpl": {fmt.Sprintf("default \"%d\"", defaults.ProxyPort), fmt.Sprintf("default \"%d\"", defaults.HealthPort), fmt.Sprintf("eq \"%d\"", defaults.AdminPort)},
		"docs/webhook.md": {
			fmt.Sprintf("healthPort: %d\n", defaults.HealthPort), fmt.Sprintf("proxyPort: %d\n", defaults.ProxyPort), fmt.Sprintf("proxyUID: %d ", defaults.ProxyUID),
			fmt.Sprintf("port %d, %d or %d,", defaults.AdminPort, defaults.ProxyPort, defaults.HealthPort),
		},
	} {
		text := read(t, filepath.Join(root, file))
		for _, line := range lines {
			if !strings.Contains(text, line) {
				t.Errorf("%s has no %q", file, line)
			}
		}
	}
}
