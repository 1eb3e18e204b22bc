// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// prefix begins an answer, which is one line. It is part of the protocol between
// versions of the two programs. Do not change it.
const prefix = "shoot-proxy probe "

// maxLine is the most bytes of an answer: the prefix, the longest address and port, and
// a newline.
const maxLine = len(prefix) + len("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535\n")

// answerTimeout is the most time for writing an answer. The line fits any socket
// buffer, so only a dead connection takes time.
const answerTimeout = 2 * time.Second

// Answer tells the program at the other end of conn that its connection went to dst, as
// SO_ORIGINAL_DST reported it. It always closes conn.
func Answer(conn net.Conn, dst netip.AddrPort) error {
	err := conn.SetWriteDeadline(time.Now().Add(answerTimeout))
	if err == nil {
		_, err = conn.Write(answerLine(dst))
	}
	if err = errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("answer the probe for %s: %w", unmap(dst), err)
	}
	return nil
}

// answerLine returns the answer for dst.
func answerLine(dst netip.AddrPort) []byte {
	return fmt.Appendf(nil, "%s%s\n", prefix, unmap(dst))
}

// errNotOurs is the error for an answer that this project's programs never give.
var errNotOurs = errors.New("not an answer of proxy-client or init-redirect")

// parseLine returns the destination in an answer. It accepts only what answerLine
// returns: anything else comes from another program on that port.
func parseLine(answer []byte) (netip.AddrPort, error) {
	text, ok := bytes.CutPrefix(answer, []byte(prefix))
	if !ok || len(answer) > maxLine {
		return netip.AddrPort{}, errNotOurs
	}
	text, ok = bytes.CutSuffix(text, []byte("\n"))
	if !ok {
		return netip.AddrPort{}, errNotOurs
	}
	dst, err := netip.ParseAddrPort(string(text))
	if err != nil || !bytes.Equal(answerLine(dst), answer) {
		return netip.AddrPort{}, errNotOurs
	}
	return dst, nil
}
