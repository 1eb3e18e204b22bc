// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"regexp"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/cure"
)

// TestCuresAreThoseOfTheReadme: the status page and the commands give the advice of
// README.md, without its links and code marks.
func TestCuresAreThoseOfTheReadme(t *testing.T) {
	link := regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)
	for heading, of := range map[string]struct {
		column int
		cure   func(reason string) string
	}{
		"### Why a connection was not made": {2, cure.NotMade},
		"### Why a connection ended":        {3, cure.Broken},
	} {
		for reason, cells := range table(t, heading) {
			want := ""
			if len(cells) > of.column {
				want = strings.ReplaceAll(link.ReplaceAllString(cells[of.column], "$1"), "`", "")
			}
			if got := of.cure(reason); got != want {
				t.Errorf("%s, %s: README.md says %q, package cure says %q", heading, reason, want, got)
			}
		}
	}
}
