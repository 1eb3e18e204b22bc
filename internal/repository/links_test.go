// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// block matches code blocks, in which links do not count.
	block = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	// link matches a link to a file of the repository, or to a heading.
	link = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// headline matches a heading.
	headline = regexp.MustCompile(`(?m)^#{1,6} (.*)$`)
	// unlinked matches what GitHub leaves out of a heading's anchor.
	unlinked = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the anchors of a document's headings.
func anchors(document string) map[string]bool {
	found := map[string]bool{}
	for _, match := range headline.FindAllStringSubmatch(block.ReplaceAllString(document, ""), -1) {
		text := unlinked.ReplaceAllString(strings.ToLower(match[1]), "")
		found[strings.ReplaceAll(text, " ", "-")] = true
	}
	return found
}

// Each link in a document leads to a file that exists, and to a heading in it.
func TestLinksLeadSomewhere(t *testing.T) {
	followed := 0
	walk(t, func(path string) {
		if filepath.Ext(path) != ".md" {
			return
		}
		text := read(t, path)
		for _, match := range link.FindAllStringSubmatch(block.ReplaceAllString(text, ""), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			followed++
			file, anchor, _ := strings.Cut(match[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", path, match[1])
				continue
			}
			if anchor != "" && !anchors(read(t, target))[anchor] {
				t.Errorf("%s links to %s, where no headline is like that", path, match[1])
			}
		}
	})
	if followed < 50 {
		t.Errorf("%d links were followed, and there are more", followed)
	}
}
