// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
)

const (
	// MaxAnswer bounds the headers of an answer, and so much of the text behind them is
	// read if the answer is an error.
	MaxAnswer = 16 << 10
	headEnd   = "\r\n\r\n"
)

// ConnectRequest returns the request for a tunnel to a target, which is host:port.
func ConnectRequest(target string) string {
	return "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\nUser-Agent: shoot-proxy\r\n\r\n"
}

// State says how much is known of the bytes of an answer.
type State uint8

// The states.
const (
	Incomplete State = iota // more bytes are needed
	Foreign                 // the bytes are no HTTP/1.x
	Malformed               // they begin with a status line, and are no answer
	Complete                // an answer; if it is an error, with its text as far as that is read
)

// Answer is the answer of a server to a request.
type Answer struct {
	Status int
	Line   string // the status line
	Header http.Header
	Text   []byte // of an error: the body, or its beginning
	Rest   []byte // behind the headers of an answer that is no error
}

// Successful reports whether the answer is any 2xx.
func (a Answer) Successful() bool { return a.Status/100 == 2 }

// Server returns the name of the software that has answered, if it tells: the first
// of Server, Proxy-agent and Via.
func (a Answer) Server() string {
	for _, name := range []string{"Server", "Proxy-Agent", "Via"} {
		if value := a.Header.Get(name); value != "" {
			return value
		}
	}
	if a.Header.Get("X-Squid-Error") != "" {
		return "squid"
	}
	return ""
}

// Named reports whether the answer names what has answered. A proxy-server of konnectivity
// never does.
func (a Answer) Named() bool { return a.Server() != "" || a.Header.Get("Proxy-Status") != "" }

// Parse parses all bytes received so far. ended says that no more will come. Interim
// answers (1xx) are left out. An error is complete when its body is, by its length or last
// chunk (RFC 9112, section 6.3), or at the end of the connection, or when MaxAnswer bytes
// of it have come.
func Parse(p []byte, ended bool) (Answer, State) {
	for {
		switch MatchStatusLine(p) {
		case No:
			return Answer{}, Foreign
		case Perhaps:
			if ended && len(p) > 0 {
				return Answer{}, Foreign
			}
			return Answer{}, Incomplete
		}
		head, rest, whole := bytes.Cut(p, []byte(headEnd))
		switch {
		case !whole && (ended || len(p) > MaxAnswer), len(head) > MaxAnswer:
			return Answer{}, Malformed
		case !whole:
			return Answer{}, Incomplete
		}
		a, state := parseHead(p, head, rest, ended)
		if state == Complete && a.Status/100 == 1 {
			p = rest
			switch {
			case len(p) > 0:
				continue
			case ended:
				return Answer{}, Malformed
			default:
				return Answer{}, Incomplete
			}
		}
		return a, state
	}
}

// parseHead parses an answer p whose headers are complete.
func parseHead(p, head, rest []byte, ended bool) (Answer, State) {
	line, _, _ := strings.Cut(string(head), "\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(p)), nil)
	if err != nil {
		return Answer{}, Malformed
	}
	defer resp.Body.Close()
	a := Answer{Status: resp.StatusCode, Line: line, Header: resp.Header}
	switch a.Status / 100 {
	case 1, 2:
		a.Rest = rest
		return a, Complete
	}
	framed := resp.ContentLength >= 0 || len(resp.TransferEncoding) > 0
	text, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer))
	a.Text = text
	if ended || len(p) > MaxAnswer || framed && err == nil {
		return a, Complete
	}
	return a, Incomplete
}

// Match is the result of a comparison with a prefix of bytes.
type Match uint8

// The results.
const (
	No      Match = iota // the bytes do not match
	Perhaps              // they do as far as they have come
	Yes                  // they match
)

// MatchStatusLine reports whether p begins like the status line of HTTP/1.x (RFC 9112,
// section 4): "HTTP/1.", a digit, a space and three digits.
func MatchStatusLine(p []byte) Match {
	const pattern = "HTTP/1.0 000"
	for i := range len(pattern) {
		switch {
		case i >= len(p):
			return Perhaps
		case pattern[i] == '0' && p[i] >= '0' && p[i] <= '9':
		case pattern[i] != p[i] || pattern[i] == '0':
			return No
		}
	}
	return Yes
}
