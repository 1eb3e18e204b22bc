// SPDX-License-Identifier: Apache-2.0

package bundle

import "regexp"

// secrets match what looks like a key or a token. What replaces them keeps the text around
// them, so that JSON and YAML can still be read.
var secrets = []struct {
	pattern *regexp.Regexp
	with    string
}{
	// A PEM block, also one within a JSON string, in which "\n" is written out.
	{regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`), "[private key removed]"},
	{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`), "[token removed]"},
	{regexp.MustCompile(`(?i)\b(bearer|basic)[ \t]+[A-Za-z0-9+/=._~-]{8,}`), "$1 [token removed]"},
	{regexp.MustCompile(`://[^/\s:@"']*:[^/\s@"']+@`), "://[password removed]@"},
	{regexp.MustCompile(`(?i)(\b(?:[a-z0-9_-]*[_-])?(?:password|passwd|token|secret|api[_-]?key)\\?["']?[ \t]*[=:][ \t]*\\?["']?)[^\s"',;&{}\[\]\\]+`), "${1}[removed]"},
}

// scrub returns a text without what looks like a key or a token. It is the last of several
// measures: what is collected is chosen so that there is none.
func scrub(text []byte) []byte {
	for _, s := range secrets {
		text = s.pattern.ReplaceAll(text, []byte(s.with))
	}
	return text
}
