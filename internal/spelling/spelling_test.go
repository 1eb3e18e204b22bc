// SPDX-License-Identifier: Apache-2.0

package spelling

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	known := []string{"inject", "uninject", "explain", "serve", "version", "podCIDRs", "nodeCIDRs", "DIAL_TIMEOUT"}
	for word, want := range map[string]string{
		"podCIDR":       "podCIDRs",
		"podcidrs":      "podCIDRs",
		"nodesCIDRs":    "nodeCIDRs",
		"injct":         "inject",
		"injekt":        "inject",
		"sevre":         "serve",
		"DIAL_TIMOUT":   "DIAL_TIMEOUT",
		"policy":        "",
		"x":             "",
		"":              "",
		"Dockerfile":    "",
		"healthAddress": "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("the nearest to %q is %q, want %q", word, got, want)
		}
	}
}

func TestQuestion(t *testing.T) {
	if got := Question("serv", []string{"serve"}, "no"); got != "did you mean serve?" {
		t.Errorf("got %q", got)
	}
	if got := Question("other", []string{"serve"}, "no"); got != "no" {
		t.Errorf("got %q, want what was to be said otherwise", got)
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"abc", "abc", 0},
		{"abc", "acb", 1},
		{"abc", "abd", 1},
		{"abc", "ab", 1},
		{"abc", "xabc", 1},
		{"ca", "abc", 3},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("from %q to %q there are %d edits, want %d", tt.a, tt.b, got, tt.want)
		}
		if distance(tt.b, tt.a) != distance(tt.a, tt.b) {
			t.Errorf("from %q to %q is not as far as back", tt.a, tt.b)
		}
	}
	if got := distance(strings.Repeat("a", 200), strings.Repeat("b", 200)); got != 200 {
		t.Errorf("got %d edits, want 200", got)
	}
}
