// SPDX-License-Identifier: Apache-2.0

package konnectivity

import (
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// FuzzClassify: whatever text a dial is refused with, its reason is one of the closed
// set. Another server is asked only if nothing reached the target. The error that is
// logged is short, and one line.
func FuzzClassify(f *testing.F) {
	for _, a := range answers {
		f.Add(a.text)
		f.Add("dial tcp 100.64.3.7:9100: " + strings.ToUpper(a.text) + "\r\n")
	}
	f.Add("eof")
	f.Add(" EOF \n")
	f.Add("")
	f.Add(strings.Repeat("\xff", 300))
	f.Fuzz(func(t *testing.T, text string) {
		for _, e := range []*tunnel.Error{Classify("s", text)} {
			if !slices.Contains(tunnel.Reasons(), e.Reason) {
				t.Errorf("reason %q is not one of the closed set", e.Reason)
			}
			if e.Fault.Elsewhere() && !slices.Contains([]tunnel.Reason{tunnel.ReasonNoAgent, tunnel.ReasonTimeout}, e.Reason) {
				t.Errorf("%s is about the target, and no other server should be asked", e.Reason)
			}
			if words := e.Error(); len(words) > 4<<10 || strings.ContainsAny(words, "\r\n") {
				t.Errorf("the error has %d bytes, or more than one line: %.100q", len(words), words)
			}
		}
		agents, upper := Classify("s", text), Classify("s", "  "+strings.ToUpper(text)+"\n")
		if isASCII(text) && (agents.Reason != upper.Reason || agents.Fault.Elsewhere() != upper.Fault.Elsewhere()) {
			t.Errorf("%q means %s, and in upper case %s", text, agents.Reason, upper.Reason)
		}
	})
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}
