// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"strings"
	"testing"
)

// TestParse: where answers end, whatever their version.
func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, said string
		ended      bool
		state      State
		status     int
		text, rest string
	}{
		{name: "nothing"},
		{name: "nothing, and the end", ended: true},
		{name: "another protocol", said: "SSH-2.0-x", state: Foreign},
		{name: "HTTP/2", said: "HTTP/2 200\r\n\r\n", state: Foreign},
		{name: "a status that is no number", said: "HTTP/1.1 2x0 OK\r\n\r\n", state: Foreign},
		{name: "a part of a status line", said: "HTTP/1.0 20"},
		{name: "a part of a status line, and the end", said: "HTTP/1.0 20", ended: true, state: Foreign},
		{name: "a part of the headers", said: "HTTP/1.1 200 OK\r\nA: b\r\n"},
		{name: "a part of the headers, and the end", said: "HTTP/1.1 200 OK\r\nA: b\r\n", ended: true, state: Malformed},
		{name: "headers without an end", said: "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", MaxAnswer), state: Malformed},
		{name: "a header that is none", said: "HTTP/1.1 200 OK\r\n: b\r\n\r\n", state: Malformed},
		{name: "konnectivity", said: "HTTP/1.1 200 Connection Established\r\n\r\nabc", state: Complete, status: 200, rest: "abc"},
		{name: "Apache", said: "HTTP/1.0 200 Connection Established\r\nProxy-agent: Apache\r\n\r\nabc", state: Complete, status: 200, rest: "abc"},
		{name: "any 2xx, whose length means nothing", said: "HTTP/1.1 299 Fine\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nabc", state: Complete, status: 299, rest: "abc"},
		{name: "interim answers", said: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabc", state: Complete, status: 200, rest: "abc"},
		{name: "an interim answer alone", said: "HTTP/1.1 100 Continue\r\n\r\n"},
		{name: "an interim answer, and the end", said: "HTTP/1.1 100 Continue\r\n\r\n", ended: true, state: Malformed},
		{name: "an error with a length", said: "HTTP/1.1 503 Unavailable\r\nContent-Length: 3\r\n\r\nabcdef", state: Complete, status: 503, text: "abc"},
		{name: "a part of it", said: "HTTP/1.1 503 Unavailable\r\nContent-Length: 3\r\n\r\nab", status: 503, text: "ab"},
		{name: "a part of it, and the end", said: "HTTP/1.1 503 Unavailable\r\nContent-Length: 3\r\n\r\nab", ended: true, state: Complete, status: 503, text: "ab"},
		{name: "an error with chunks", said: "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", state: Complete, status: 403, text: "abc"},
		{name: "before the last chunk", said: "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n", status: 403, text: "abc"},
		{name: "an error up to the end", said: "HTTP/1.0 502 Bad\r\n\r\nabc", status: 502, text: "abc"},
		{name: "an error up to the end, which has come", said: "HTTP/1.0 502 Bad\r\n\r\nabc", ended: true, state: Complete, status: 502, text: "abc"},
		{name: "a redirection", said: "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", state: Complete, status: 302},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, state := Parse([]byte(tc.said), tc.ended)
			if state != tc.state || a.Status != tc.status || string(a.Text) != tc.text || string(a.Rest) != tc.rest {
				t.Errorf("state %d, %+v; want state %d, status %d, text %q, rest %q", state, a, tc.state, tc.status, tc.text, tc.rest)
			}
		})
	}
}

// TestEndlessError: an error is judged when so much of it has come that no more is read.
func TestEndlessError(t *testing.T) {
	said := "HTTP/1.1 502 Bad\r\n\r\n" + strings.Repeat("x", MaxAnswer)
	if a, state := Parse([]byte(said), false); state != Complete || len(a.Text) == 0 || len(a.Text) > MaxAnswer {
		t.Errorf("state %d and %d bytes of text", state, len(a.Text))
	}
}

// TestStandard: which answers to the greeting are those of standard proxies. The answers
// are those of the real ones.
func TestStandard(t *testing.T) {
	for said, want := range map[string]bool{
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":                                   false, // konnectivity
		"HTTP/1.1 200 OK\r\nDate: x\r\nServer: Apache/2.4\r\n\r\n":                       true,
		"HTTP/1.1 200 OK\r\nVia: 1.1 x\r\nContent-Length: 0\r\n\r\n":                     true,
		"HTTP/1.1 200 OK\r\nProxy-Status: x\r\nContent-Length: 0\r\n\r\n":                true,
		"HTTP/1.1 404 Not Found\r\nserver: envoy\r\ncontent-length: 0\r\n\r\n":           true,
		"HTTP/1.1 501 Not Implemented\r\nServer: squid/5.7\r\nContent-Length: 0\r\n\r\n": true,
		"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n":                   true,
	} {
		a, state := Parse([]byte(said), false)
		if state == Malformed || a.Standard() != want {
			t.Errorf("%q: standard %t, want %t", said, a.Standard(), want)
		}
	}
}

// FuzzParse: further bytes never change a decision, and nothing panics.
func FuzzParse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\nx"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 No\r\nContent-Length: 1\r\n\r\nx"))
	f.Add([]byte("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > 512 {
			return
		}
		decided, status := Incomplete, 0
		for n := range len(p) + 1 {
			a, state := Parse(p[:n], false)
			if decided != Incomplete && (state != decided || a.Status != status) {
				t.Fatalf("%q: state %d with status %d became %d with %d", p[:n], decided, status, state, a.Status)
			}
			decided, status = state, a.Status
		}
		if _, state := Parse(p, true); len(p) > 0 && state == Incomplete {
			t.Fatalf("%q: no decision at the end", p)
		}
	})
}
