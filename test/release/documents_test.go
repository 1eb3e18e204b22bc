// SPDX-License-Identifier: Apache-2.0

package release

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/markdown"
)

var (
	// documentLink matches a link of a document.
	documentLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// released matches the files of a release that commands name with a version.
	released = regexp.MustCompile(`proxy-(?:client|exit)-[0-9][^ ]*\.tgz|\.tar:[0-9][^" ]*|/init-redirect:[0-9][^ ]*`)
)

// checkDocuments follows the links in the documents of a release, and compares the
// versions in their commands.
func checkDocuments(t *testing.T, dist string) {
	links, commands := 0, 0
	err := filepath.WalkDir(dist, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		for _, match := range documentLink.FindAllStringSubmatch(read(t, path), -1) {
			target, _, _ := strings.Cut(match[1], "#")
			if target == "" {
				continue
			}
			if repository, outside := strings.CutPrefix(target, "https://github.com/shoot-proxy/proxy-client/blob/v"+version+"/"); outside {
				target = filepath.Join(root, repository)
			} else if !strings.Contains(target, "://") {
				target = filepath.Join(filepath.Dir(path), target)
			} else {
				continue
			}
			links++
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", path, match[1], err)
			}
		}
		commands += checkVersions(t, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if links < 40 || commands < 8 {
		t.Errorf("the documents have %d links and %d commands with a version, and there are more", links, commands)
	}
}

// checkVersions returns how many commands of a document name a file or an image of the
// release. Each of them must have the release's version.
func checkVersions(t *testing.T, path string) (commands int) {
	document, err := markdown.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := document.Steps()
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range steps {
		for _, name := range released.FindAllString(step.Command, -1) {
			commands++
			if !strings.Contains(name, version) {
				t.Errorf("%s: %s is of another version than %s", step, name, version)
			}
		}
	}
	return commands
}
