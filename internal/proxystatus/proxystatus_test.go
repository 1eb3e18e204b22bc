// SPDX-License-Identifier: Apache-2.0

package proxystatus

import (
	"strings"
	"testing"
)

// TestMalformed: a field of which any part is malformed says nothing.
func TestMalformed(t *testing.T) {
	for _, field := range []string{
		``, ` `, `,`, `exit; error=dns_error,`, `;error=dns_error`, `exit; error=dns_error; `, `exit; error=`, `exit; Error=dns_error`,
		`exit; error=dns_error extra`, `exit; error=dns_error; details="open`, `exit; error=dns_error; details="bad \x"`,
		"exit; error=dns_error; details=\"a\x7f\"", `exit; error=dns_error; details="ü"`, `(exit b); error=dns_error`, `1; error=dns_error`, `?1; error=dns_error`,
		`exit; error=dns_error; n=1234567890123456`, `exit; error=dns_error; n=1.2345`, `exit; error=dns_error; n=1.`, `exit; error=dns_error; n=-`,
		`exit; error=dns_error; b=:no base64:`, `exit; error=dns_error; b=:YQ==`, `exit; error=dns_error; b=?2`, `exit; error=dns_error; d=%"%zz"`, `exit; error=dns_error; d=%"%a`,
		`exit; error=dns_error; d=@1.5`, `exit;; error=dns_error`, `exit; error=dns_error,,b`, "exit; error=dns_error,\n b",
		`exit; error=dns_error; details="` + strings.Repeat("x", maxField) + `"`,
		strings.Repeat("a, ", maxMembers) + `exit; error=dns_error`, `exit; error=dns_error` + strings.Repeat(";a", maxParameters),
	} {
		if got := Parse([]string{field}); got != (Status{}) {
			t.Errorf("%.80q says %+v", field, got)
		}
	}
}

// TestParse: the error of the proxy next to the target, with its words.
func TestParse(t *testing.T) {
	for field, want := range map[string]Status{
		`exit; error=connection_refused; details="no \"one\" listens"`: {"exit", "connection_refused", `no "one" listens`},
		`exit;error=dns_error`:                             {Proxy: "exit", Error: "dns_error"},
		`  "the exit" ; error=dns_error`:                   {},
		`"the exit"; error=dns_error`:                      {Proxy: "the exit", Error: "dns_error"},
		`*a:b/c; error=x-1.2`:                              {Proxy: "*a:b/c", Error: "x-1.2"},
		`exit; error="dns_error"`:                          {}, // a string is no token
		`exit; error=dns_error; details=token`:             {Proxy: "exit", Error: "dns_error"},
		`exit; error=a; error=b; details="1"; details="2"`: {"exit", "b", "2"},
		`near; received-status=502, far; error=dns_error`:  {Proxy: "far", Error: "dns_error"},
		"near; error=a ,\t far; error=b":                   {Proxy: "near", Error: "a"},
		`exit; error=a; n=-12; d=1.250; t=@-5; f; b=?0; y=:YWI=:; u=%"%c3%bc x"; next-protocol=h2; received-status=502`: {Proxy: "exit", Error: "a"},
		`exit`: {},
	} {
		if got := Parse([]string{field}); got != want {
			t.Errorf("%q says %+v, want %+v", field, got, want)
		}
	}
	if got, want := Parse([]string{"near; received-status=502", "far; error=dns_error"}), (Status{Proxy: "far", Error: "dns_error"}); got != want {
		t.Errorf("two fields say %+v, want %+v", got, want)
	}
}

// FuzzParse: whatever a proxy sends, the words are printable and their length is bounded.
func FuzzParse(f *testing.F) {
	f.Add(`exit; error=connection_refused; details="a \"b\""`, `far; error=dns_error; n=1.5; b=:YQ==:`)
	f.Add(`exit; x=%"%c3%bc"; y=@5; z=?1`, ``)
	f.Fuzz(func(t *testing.T, a, b string) {
		s := Parse([]string{a, b})
		for _, word := range []string{s.Proxy, s.Error, s.Details} {
			if len(word) > maxField || strings.ContainsFunc(word, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("it says %q", word)
			}
		}
		if s.Error == "" && s != (Status{}) {
			t.Errorf("%+v without an error", s)
		}
	})
}
