// SPDX-License-Identifier: Apache-2.0

package target

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Banner is all that the target that speaks first ever sends.
const Banner = "220 target.shoot.lab ready; this line is complete, and so is the connection\r\n"

// thinkingTime is how long the half-close target waits between its request and the end of
// its answer. That is long enough for the client's FIN to pass everything on its way.
const thinkingTime = 300 * time.Millisecond

func echo(conn net.Conn) {
	_, _ = io.Copy(conn, conn)
	_ = conn.(*net.TCPConn).CloseWrite()
}

// halfClose reads one line, `bytes N\n`, and answers with N bytes of the pattern, the
// second half after a pause. It never looks for the client's EOF. HTTP/1.0 servers,
// finger and rsync daemons do not either.
func halfClose(conn net.Conn) {
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return
	}
	n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(line, "bytes ")), 10, 64)
	if err != nil {
		_, _ = fmt.Fprintf(conn, "bad request %q\n", line)
		return
	}
	answer := Pattern()
	if _, err := io.CopyN(conn, answer, n/2); err != nil {
		return
	}
	time.Sleep(thinkingTime)
	_, _ = io.CopyN(conn, answer, n-n/2)
}

func speakFirst(conn net.Conn) {
	_, _ = io.WriteString(conn, Banner)
}

func afterEOF(conn net.Conn) {
	n, err := io.Copy(io.Discard, conn)
	if err == nil {
		_, _ = fmt.Fprintf(conn, "got %d bytes and EOF\n", n)
	}
}

func silent(conn net.Conn) {
	_, _ = io.Copy(io.Discard, conn)
}

// Sunk is what the sink got on one connection until its end.
type Sunk struct {
	N      int64
	SHA256 string // in hexadecimal
	Err    error  // nil after a clean end
}

// Sunk returns a channel with one value for each connection to the sink. It must be read:
// after a few values the sink waits.
func (t *Targets) Sunk() <-chan Sunk { return t.sunk }

func (t *Targets) sink(conn net.Conn) {
	hash := sha256.New()
	n, err := io.Copy(hash, conn)
	t.sunk <- Sunk{N: n, SHA256: hex.EncodeToString(hash.Sum(nil)), Err: err}
}

// stuck has a small buffer, so that a sender notices soon. Once it is released, it is a
// sink.
func (t *Targets) stuck(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	<-t.gate() // Close also opens it
	t.sink(conn)
}

// finFirst ends its own direction before it reads. Then it is a sink.
func (t *Targets) finFirst(conn net.Conn) {
	_, _ = io.WriteString(conn, Banner)
	_ = conn.(*net.TCPConn).CloseWrite()
	t.sink(conn)
}

func resets(conn net.Conn) {
	_, _ = io.WriteString(conn, Banner)
	_, _ = conn.Read(make([]byte, 1))
	_ = conn.(*net.TCPConn).SetLinger(0)
}

// HoldPrefix begins a request to the named target that is answered in two steps.
const HoldPrefix = "hold "

// named reads one line and answers with the shoot's name and that line. If the line begins
// with [HoldPrefix], the name alone comes at once, as a line, and the answer comes after
// [Targets.Release].
func (t *Targets) named(conn net.Conn) {
	request, err := bufio.NewReaderSize(conn, 64).ReadString('\n')
	if err != nil {
		return
	}
	name, gate := t.request(strings.HasPrefix(request, HoldPrefix))
	if gate != nil {
		_, _ = fmt.Fprintf(conn, "%s\n", name)
		<-gate // Close also opens it
		t.leave()
	}
	_, _ = fmt.Fprintf(conn, "%s %s", name, request)
}

// request returns the name and, for a request that is held, what it waits for.
func (t *Targets) request(hold bool) (name string, gate <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !hold {
		return t.name, nil
	}
	t.held++
	return t.name, t.released
}

func (t *Targets) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held--
}
