// SPDX-License-Identifier: Apache-2.0

package connectmode

import (
	"bytes"
	"strconv"

	"github.com/shoot-proxy/proxy-client/internal/http1"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
)

const (
	// establishedLine is what a proxy-server writes, in one piece, when it has
	// connected to the target (tunnel.go of apiserver-network-proxy).
	establishedLine = "HTTP/1.1 200 Connection Established\r\n\r\n"
	statusPrefix    = "HTTP/1.1 "
	headEnd         = "\r\n\r\n"
	// maxAhead bounds how many bytes of the target are searched for a late
	// establishedLine.
	maxAhead = 1 << 20
)

// headKind says what the first bytes of a CONNECT connection are.
type headKind int

const (
	headIncomplete  headKind = iota // more bytes are needed
	headEstablished                 // the dial has succeeded
	headRefused                     // an error, whose text may still be arriving
	headAhead                       // bytes of the target, ahead of the server's own answer
	headGarbage                     // not an answer
	headHTTP2                       // the first bytes of a gRPC server, and no more
)

// parseHead judges all bytes received so far. It returns the status of a complete
// answer and the bytes behind it. ended says that no more bytes will come.
func parseHead(head []byte, ended bool) (v headKind, status int, rest []byte) {
	if len(head) == 0 {
		return headIncomplete, 0, nil
	}
	if len(head) < len(statusPrefix) {
		if bytes.HasPrefix([]byte(statusPrefix), head) && !ended || http1.MatchStatusLine(head) == http1.Perhaps && !ended {
			return headIncomplete, 0, nil
		}
		return headAhead, 0, nil
	}
	if http1.IsSettings(head) && !bytes.Contains(head, []byte(establishedLine)) {
		// A target may speak HTTP/2 as well, but then the server's answer follows.
		if ended {
			return headHTTP2, 0, nil
		}
		return headIncomplete, 0, nil
	}
	if !bytes.HasPrefix(head, []byte(statusPrefix)) {
		// A standard proxy may speak another HTTP/1.x. Its status line is never taken for
		// bytes of the target.
		switch is := http1.MatchStatusLine(head); {
		case is == http1.Perhaps && !ended:
			return headIncomplete, 0, nil
		case is != http1.Yes:
			return headAhead, 0, nil
		}
	}
	answer, rest, complete := bytes.Cut(head, []byte(headEnd))
	if !complete {
		if ended {
			return headGarbage, 0, nil
		}
		return headIncomplete, 0, nil
	}
	code := answer[len(statusPrefix):]
	if len(answer) > maxHead || len(code) < 3 || (len(code) > 3 && code[3] != ' ' && code[3] != '\r') {
		return headGarbage, 0, nil
	}
	status, err := strconv.Atoi(string(code[:3]))
	switch {
	case err != nil || status < 200: // an interim answer, for which we have not asked
		return headGarbage, 0, nil
	case status/100 == 2:
		return headEstablished, status, rest
	default:
		return headRefused, status, rest
	}
}

// refusal returns the text of an answer that is an error, and whether all of it has come,
// by its length or last chunk. A proxy-server gives neither, and ends the connection.
func refusal(head, rest []byte) (text []byte, whole bool) {
	if a, state := http1.Parse(head, false); state == http1.Complete {
		return a.Text, true
	}
	return rest, false
}

// fitOf returns what an answer to CONNECT tells of the server's kind. A proxy-server's
// success is establishedLine, and it never names itself.
func fitOf(head []byte, v headKind) serverconn.Fit {
	if v == headEstablished {
		if bytes.HasPrefix(head, []byte(establishedLine)) {
			return serverconn.Konnectivity
		}
		return serverconn.StandardProxy
	}
	if a, state := http1.Parse(head, true); state == http1.Complete && a.Named() {
		return serverconn.StandardRefusal
	}
	return serverconn.Fits
}

// aheadFilter removes the server's establishedLine from a stream in which bytes of the
// target came first. The zero value is ready.
type aheadFilter struct {
	held   []byte // the last bytes so far, if they may be the beginning of the line
	passed int
	found  bool
}

// pass returns the bytes, of those held before and of p, that are certainly the
// target's. The result may alias p.
func (f *aheadFilter) pass(p []byte) []byte {
	if f.found {
		return p
	}
	if len(f.held) > 0 {
		p = append(f.held, p...)
		f.held = nil
	}
	if before, after, ok := bytes.Cut(p, []byte(establishedLine)); ok {
		f.found = true
		return append(before[:len(before):len(before)], after...)
	}
	keep := suffixOfPrefix(p, establishedLine)
	f.held = append(f.held, p[len(p)-keep:]...)
	f.passed += len(p) - keep
	return p[:len(p)-keep]
}

// flush returns the held bytes at the end of the stream.
func (f *aheadFilter) flush() []byte {
	held := f.held
	f.held = nil
	return held
}

// overdue reports whether the line should have come by now.
func (f *aheadFilter) overdue() bool { return !f.found && f.passed > maxAhead }

// suffixOfPrefix returns the length of the longest proper prefix of line with
// which p ends.
func suffixOfPrefix(p []byte, line string) int {
	for n := min(len(p), len(line)-1); n > 0; n-- {
		if bytes.HasSuffix(p, []byte(line[:n])) {
			return n
		}
	}
	return 0
}
