// SPDX-License-Identifier: Apache-2.0

package markdown

import (
	"regexp"
	"strings"
)

// omitted stands for what a document leaves out.
const omitted = "…"

// Matches reports whether a command has printed all that a document shows. Space at the
// ends does not count.
func Matches(shown, printed string) bool {
	var pattern strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(shown), "\n") {
		if line == omitted {
			pattern.WriteString(`(?:.*\n)*`)
			continue
		}
		for i, part := range strings.Split(line, omitted) {
			if i > 0 {
				pattern.WriteString(`.*`)
			}
			pattern.WriteString(regexp.QuoteMeta(part))
		}
		pattern.WriteString(`\n`)
	}
	return regexp.MustCompile(`^` + pattern.String() + `$`).MatchString(strings.TrimSpace(printed) + "\n")
}
