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

// prefix begins the one line of an answer. It is part of what two versions of
// the two programs say to each other: do not change it.
const prefix = "shoot-proxy probe "

// maxLine bounds an answer: the prefix, the longest address and port, newline.
const maxLine = len(prefix) + len("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535\n")

// answerTimeout bounds the writing of an answer. The line fits any socket
// buffer, so only a connection that is dead already takes any time.
const answerTimeout = 2 * time.Second

// Answer tells the program at the other end of conn where its connection was
// going, dst as SO_ORIGINAL_DST gave it, and closes conn in any case.
func Answer(conn net.Conn, dst netip.AddrPort) error {
	err := conn.SetWriteDeadline(time.Now().Add(answerTimeout))
	if err == nil {
		_, err = conn.Write(line(dst))
	}
	if err = errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("answer the probe for %s: %w", unmap(dst), err)
	}
	return nil
}

// line is the answer for dst.
func line(dst netip.AddrPort) []byte {
	return fmt.Appendf(nil, "%s%s\n", prefix, unmap(dst))
}

// errNotOurs is an answer that this project's programs never give.
var errNotOurs = errors.New("not an answer of proxy-client or init-redirect")

// parseLine returns the destination in an answer. It takes nothing but what
// line makes: whatever else speaks on that port is somebody else's program.
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
	if err != nil || !bytes.Equal(line(dst), answer) {
		return netip.AddrPort{}, errNotOurs
	}
	return dst, nil
}
