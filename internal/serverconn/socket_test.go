// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// tlsPair returns both ends of a TLS connection over TCP. The client's is on a socket.
// The third value is the connection under the server's end.
func tlsPair(t *testing.T, version uint16) (client *Conn, server *tls.Conn, under *heldWriter) {
	t.Helper()
	certificate, pool := newCertificate(t)
	l := listen(t)
	raw, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	accepted, err := l.Accept()
	must(t, err)
	under = &heldWriter{Conn: closeNotifyConn{accepted}}
	server = tls.Server(under, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	conn := tls.Client(closeNotifyConn{newSocket(raw, true, new(chunks))}, &tls.Config{
		RootCAs: pool, ServerName: "localhost", MaxVersion: version, DynamicRecordSizingDisabled: true,
	})
	t.Cleanup(func() {
		_ = raw.Close()
		_ = accepted.Close()
	})
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	must(t, conn.Handshake())
	must(t, waittest.Await(t, shaken, "the server's handshake"))
	return newConn(conn, new(chunks)), server, under
}

// heldWriter keeps the bytes of all writes, so that they can be sent at once.
type heldWriter struct {
	net.Conn
	on   bool
	held []byte
}

// Write implements net.Conn.
func (l *heldWriter) Write(p []byte) (int, error) {
	if !l.on {
		return l.Conn.Write(p)
	}
	l.held = append(l.held, p...)
	return len(p), nil
}

// let sends the first n bytes that were kept.
func (l *heldWriter) let(t *testing.T, n int) {
	t.Helper()
	must(t, l.SetWriteDeadline(time.Time{})) // CloseWrite has set one
	_, err := l.Conn.Write(l.held[:n])
	must(t, err)
	l.held = l.held[n:]
}

// inBothVersions runs test with TLS 1.2 and 1.3.
func inBothVersions(t *testing.T, test func(t *testing.T, version uint16)) {
	t.Helper()
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) { test(t, version) })
	}
}

// TestGatherTakesAllThatHasArrived: complete records that have arrived are received in
// one piece. Next does not wait for the rest of the last one, and holds no memory for
// it.
func TestGatherTakesAllThatHasArrived(t *testing.T) {
	inBothVersions(t, func(t *testing.T, version uint16) {
		client, server, under := tlsPair(t, version)
		under.on = true
		var said []byte
		for i := range 8 {
			part := bytes.Repeat([]byte{byte('a' + i)}, 1000)
			said = append(said, part...)
			_, err := server.Write(part)
			must(t, err)
		}
		all := len(under.held)
		for _, n := range []int{2, all / 2, all/2 - 5} {
			under.let(t, n)
		}
		var got []byte
		var pieces int
		for ; len(got) < 7000; pieces++ {
			p, err := client.Next()
			must(t, err)
			got = append(got, p...)
		}
		if pieces > 3 {
			t.Errorf("received in %d pieces, want one for each time that something arrived", pieces)
		}
		client.socket.poll()
		if n := client.readArrived(); n != 0 {
			t.Errorf("received %d bytes of a record that is not complete", n)
		}
		client.release()
		if client.chunk != nil || client.socket.chunk != nil {
			t.Error("memory is held while nothing can be read")
		}
		under.let(t, len(under.held))
		p, err := client.Next()
		must(t, err)
		if got = append(got, p...); !bytes.Equal(got, said) {
			t.Errorf("received %d bytes %.20q…, want %d", len(got), got, len(said))
		}
	})
}

// TestGatherEnds: the end comes behind all bytes, even if it arrives with them. Only
// close_notify is an end.
func TestGatherEnds(t *testing.T) {
	for name, want := range map[string]error{"close_notify": io.EOF, "FIN": ErrNoCloseNotify, "FIN amid a record": ErrNoCloseNotify} {
		t.Run(name, func(t *testing.T) {
			inBothVersions(t, func(t *testing.T, version uint16) {
				client, server, under := tlsPair(t, version)
				under.on = true
				const said = "first"
				_, err := io.WriteString(server, said)
				must(t, err)
				whole := len(under.held)
				switch name {
				case "close_notify":
					must(t, server.CloseWrite())
				case "FIN amid a record":
					_, err := io.WriteString(server, "second")
					must(t, err)
					under.held = under.held[:whole+10]
				}
				under.let(t, len(under.held))
				must(t, under.Conn.Close())
				p, err := client.Next()
				must(t, err)
				if string(p) != said {
					t.Errorf("received %q, want %q", p, said)
				}
				for range 2 {
					if _, err := client.Next(); !errors.Is(err, want) {
						t.Errorf("ended with %v, want %v", err, want)
					}
				}
				if client.chunk != nil || client.socket.chunk != nil {
					t.Error("memory is held behind the end")
				}
			})
		})
	}
}

// TestPollSeesTheEnd: Poll tells a connection that waits to be used and is alive from
// one that is dead, whatever messages of TLS itself have come.
func TestPollSeesTheEnd(t *testing.T) {
	inBothVersions(t, func(t *testing.T, version uint16) {
		client, server, _ := tlsPair(t, version)
		for range 2 { // the first reads session tickets
			if !client.Poll() {
				t.Error("a connection that stands is dead")
			}
		}
		must(t, server.CloseWrite())
		waittest.Eventually(t, "the end", func() bool { return !client.Poll() })
	})
	t.Run("without a file", func(t *testing.T) {
		ours, theirs := net.Pipe()
		client := newConn(ours, new(chunks))
		for range 2 {
			if !client.Poll() {
				t.Error("a connection that stands is dead")
			}
		}
		_ = theirs.Close()
		if client.Poll() {
			t.Error("a connection that has ended is alive")
		}
	})
}

// TestWriteTogetherBreaks: if only a part of the records could be written, nothing may
// follow them.
func TestWriteTogetherBreaks(t *testing.T) {
	inBothVersions(t, func(t *testing.T, version uint16) {
		client, _, _ := tlsPair(t, version)
		must(t, client.Conn.SetWriteDeadline(time.Now()))
		if err := client.socket.writeTogether(client.Conn, make([]byte, 2*maxRecord)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a write that was late ended with %v", err)
		}
		must(t, client.Conn.SetWriteDeadline(time.Time{}))
		for _, n := range []int{1, 2 * maxRecord} {
			if err := client.socket.writeTogether(client.Conn, make([]byte, n)); err == nil {
				t.Errorf("%d bytes were written behind records that were not", n)
			}
		}
	})
}

// TestCloseMeetsSend: close_notify comes behind a Send that is under way, and before
// FIN.
func TestCloseMeetsSend(t *testing.T) {
	inBothVersions(t, func(t *testing.T, version uint16) {
		client, server, _ := tlsPair(t, version)
		sent := make(chan error, 1)
		go func() { sent <- client.socket.writeTogether(client.Conn, make([]byte, 64*maxRecord)) }()
		got := make([]byte, maxRecord)
		_, err := io.ReadFull(server, got)
		must(t, err)
		closed := make(chan struct{})
		go func() {
			EndWriting(client.Conn)
			close(closed)
		}()
		rest, err := io.ReadAll(server)
		if err != nil || len(got)+len(rest) != 64*maxRecord {
			t.Errorf("the server read %d bytes and %v, want all of them and close_notify", len(got)+len(rest), err)
		}
		waittest.Await(t, closed, "the end of what is said last")
		_ = waittest.Await(t, sent, "the end of the write")
	})
}

// TestWriteTogether: when it returns, all records are sent, whatever their number, and
// none is left for the next write.
func TestWriteTogether(t *testing.T) {
	inBothVersions(t, func(t *testing.T, version uint16) {
		client, server, _ := tlsPair(t, version)
		for _, n := range []int{1, maxRecord, maxRecord + 1, 2 * maxRecord, 4*maxRecord - 1, 64 * maxRecord} {
			said := bytes.Repeat([]byte("0123456789abcde\n"), n/16+1)[:n]
			sent := make(chan error, 1)
			go func() { sent <- client.socket.writeTogether(client.Conn, said) }()
			got := make([]byte, n)
			_, err := io.ReadFull(server, got)
			must(t, err)
			must(t, waittest.Await(t, sent, "the end of the write"))
			if !bytes.Equal(got, said) {
				t.Errorf("of %d bytes others have arrived", n)
			}
			if client.socket.gathered != nil {
				t.Errorf("after %d bytes something is kept back", n)
			}
		}
	})
}

// FuzzFraming: however a stream of records arrives, no read returns bytes of two
// records, and all bytes are returned.
func FuzzFraming(f *testing.F) {
	f.Add([]byte{0, 5, 1, 16}, []byte{1, 2, 3})
	f.Add([]byte{200}, []byte{5})
	f.Fuzz(func(t *testing.T, sizes, cuts []byte) {
		var stream []byte
		ends := map[int]bool{}
		for _, n := range sizes {
			stream = append(append(stream, 23, 3, 3, 0, n), make([]byte, n)...)
			ends[len(stream)] = true
		}
		framing := framing{on: true}
		dst := make([]byte, len(stream)+1)
		for at, i := 0, 0; at < len(stream); {
			arrived := len(stream)
			if i < len(cuts) {
				arrived = min(arrived, at+1+int(cuts[i]))
				i++
			}
			for at < arrived {
				n := framing.next(dst, stream[at:arrived])
				if n == 0 {
					t.Fatal("nothing was passed on of something")
				}
				for inside := at + 1; inside < at+n; inside++ {
					if ends[inside] {
						t.Fatalf("a read from %d to %d goes beyond the end of a record at %d", at, at+n, inside)
					}
				}
				at += n
			}
		}
	})
}
