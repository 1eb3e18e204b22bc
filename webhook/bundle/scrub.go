// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"regexp"
)

// privateKey matches a PEM block, also one within a JSON string, in which "\n" is written
// out.
var privateKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`)

// secrets match what looks like a token or a password in a line. What replaces them keeps
// the text around them, so that JSON and YAML can still be read. A pattern is tried only on
// lines that have one of its words, in lower case, because patterns are slow.
var secrets = []struct {
	words   []string
	pattern *regexp.Regexp
	with    string
}{
	{[]string{"eyj"}, regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`), "[token removed]"},
	{[]string{"bearer", "basic"}, regexp.MustCompile(`(?i)\b(bearer|basic)[ \t]+[A-Za-z0-9+/=._~-]{8,}`), "$1 [token removed]"},
	{[]string{"://"}, regexp.MustCompile(`://[^/\s:@"']*:[^/\s@"']+@`), "://[password removed]@"},
	{
		[]string{"password", "passwd", "token", "secret", "api_key", "api-key", "apikey"},
		regexp.MustCompile(`(?i)(\b(?:[a-z0-9_-]*[_-])?(?:password|passwd|token|secret|api[_-]?key)\\?["']?[ \t]*[=:][ \t]*\\?["']?)[^\s"',;&{}\[\]\\]+`),
		"${1}[removed]",
	},
}

// scrub returns a text without what looks like a key, a token or a password. It is the last
// of several measures: what is collected is chosen so that there is none.
func scrub(text []byte) []byte {
	if bytes.Contains(text, []byte("PRIVATE KEY-----")) {
		text = privateKey.ReplaceAll(text, []byte("[private key removed]"))
	}
	var clean bytes.Buffer
	for line := range bytes.Lines(text) {
		lower := bytes.ToLower(line)
		for _, s := range secrets {
			for _, word := range s.words {
				if bytes.Contains(lower, []byte(word)) {
					line = s.pattern.ReplaceAll(line, []byte(s.with))
					break
				}
			}
		}
		clean.Write(line)
	}
	return clean.Bytes()
}
