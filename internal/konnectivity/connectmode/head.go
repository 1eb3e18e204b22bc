// SPDX-License-Identifier: Apache-2.0

package connectmode

import (
	"bytes"
	"strconv"
)

const (
	// establishedLine is what a proxy-server writes, in one piece, when the
	// tunnel stands (tunnel.go of apiserver-network-proxy).
	establishedLine = "HTTP/1.1 200 Connection Established\r\n\r\n"
	statusPrefix    = "HTTP/1.1 "
	headEnd         = "\r\n\r\n"
	// maxAhead bounds how many bytes of the target are looked through for an
	// establishedLine that comes late.
	maxAhead = 1 << 20
)

// headVerdict is what the first bytes of a CONNECT connection mean.
type headVerdict int

const (
	headIncomplete  headVerdict = iota // more bytes are needed
	headEstablished                    // the tunnel stands
	headRefused                        // an error; its text may still be arriving
	headAhead                          // bytes of the target, ahead of the server's own answer
	headGarbage                        // an answer that is none
	headHTTP2                          // what a gRPC server begins with, and no more
)

// judgeHead looks at all bytes received so far. It returns the status of a
// complete answer and what came behind it.
func judgeHead(head []byte, ended bool) (v headVerdict, status int, rest []byte) {
	if len(head) == 0 {
		return headIncomplete, 0, nil
	}
	if len(head) < len(statusPrefix) {
		if bytes.HasPrefix([]byte(statusPrefix), head) && !ended {
			return headIncomplete, 0, nil
		}
		return headAhead, 0, nil
	}
	if isSettings(head) && !bytes.Contains(head, []byte(establishedLine)) {
		// A target may speak HTTP/2 as well, but then there is an answer behind it.
		if ended {
			return headHTTP2, 0, nil
		}
		return headIncomplete, 0, nil
	}
	if !bytes.HasPrefix(head, []byte(statusPrefix)) {
		return headAhead, 0, nil
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
	case err != nil || status < 200: // nobody asked for an interim answer
		return headGarbage, 0, nil
	case status == 200:
		return headEstablished, status, rest
	default:
		return headRefused, status, rest
	}
}

// aheadFilter takes the server's establishedLine out of a stream in which bytes
// of the target came first. The zero value is ready.
type aheadFilter struct {
	held   []byte // the end of what was passed so far, where it may begin the line
	passed int
	found  bool
}

// pass returns what of p, and of what was held before, is certainly the
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

// flush returns what was held back, for the end of the stream.
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
