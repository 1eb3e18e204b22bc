// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	_ "crypto/sha256" // for crypto.SHA256
	_ "crypto/sha512" // for crypto.SHA384
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// keyedWriter writes TLS 1.3 records (RFC 8446, section 5.2) after a handshake of
// crypto/tls. crypto/tls itself cannot send key updates.
type keyedWriter struct {
	t      *testing.T
	conn   net.Conn
	hash   crypto.Hash
	size   int // of a key, in bytes
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
	err    error // the first error of a write
}

// newKeyedWriter continues after a handshake. keyLog holds its secrets.
func newKeyedWriter(t *testing.T, conn net.Conn, state tls.ConnectionState, keyLog string) *keyedWriter {
	t.Helper()
	w := &keyedWriter{t: t, conn: conn, hash: crypto.SHA256, size: 16}
	switch state.CipherSuite {
	case tls.TLS_AES_128_GCM_SHA256:
	case tls.TLS_AES_256_GCM_SHA384:
		w.hash, w.size = crypto.SHA384, 32
	default:
		t.Skipf("crypto/tls has chosen %s, which this test does not write", tls.CipherSuiteName(state.CipherSuite))
	}
	for line := range strings.Lines(keyLog) {
		if fields := strings.Fields(line); fields[0] == "SERVER_TRAFFIC_SECRET_0" {
			secret, err := hex.DecodeString(fields[2])
			must(t, err)
			w.setSecret(secret)
			return w
		}
	}
	t.Fatal("the key log has no secret of the server")
	return nil
}

// setSecret sets the secret for the following records.
func (w *keyedWriter) setSecret(secret []byte) {
	w.secret, w.seq, w.iv = secret, 0, w.expand(secret, "iv", 12)
	block, err := aes.NewCipher(w.expand(secret, "key", w.size))
	must(w.t, err)
	w.aead, err = cipher.NewGCM(block)
	must(w.t, err)
}

// expand is HKDF-Expand-Label without a context (RFC 8446, section 7.1).
func (w *keyedWriter) expand(secret []byte, label string, n int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "+label+"\x00"...)
	out, err := hkdf.Expand(w.hash.New, secret, string(info), n)
	must(w.t, err)
	return out
}

// write writes one record.
func (w *keyedWriter) write(kind byte, p []byte) {
	if w.err != nil {
		return
	}
	plain := append(bytes.Clone(p), kind)
	head := []byte{23, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(head[3:], uint16(len(plain)+w.aead.Overhead()))
	nonce := bytes.Clone(w.iv)
	for i := range 8 {
		nonce[len(nonce)-1-i] ^= byte(w.seq >> (8 * i))
	}
	w.seq++
	_, w.err = w.conn.Write(w.aead.Seal(head, nonce, plain, head))
}

// frame writes an HTTP/2 frame.
func (w *keyedWriter) frame(kind http2.FrameType, p string) {
	w.write(23, append(appendFrame(nil, len(p), kind, 0, 0), p...))
}

// update requests a key update of the client, and updates the writer's own key.
func (w *keyedWriter) update() {
	w.write(22, []byte{24, 0, 0, 1, 1})
	w.setSecret(w.expand(w.secret, "traffic upd", w.hash.Size()))
}

// replaceableConn is the connection below TLS, which is replaced after the handshake.
type replaceableConn struct{ net.Conn }

// TestKeyUpdatesWithoutEnd: crypto/tls answers each key update that the server
// requests. A server that requests them without end, and does not read, loses its
// connection. Its answers never take more memory than maxGatheredBytes.
func TestKeyUpdatesWithoutEnd(t *testing.T) {
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS() // for its certificate
	defer web.Close()
	// Over TCP, Linux can stall if a window shrinks under so many small segments.
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "server"))
	must(t, err)
	defer l.Close()
	near, err := net.Dial("unix", l.Addr().String())
	must(t, err)
	defer near.Close()
	far, err := l.Accept()
	must(t, err)
	defer far.Close()
	var keyLog bytes.Buffer
	server := tls.Server(far, &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, KeyLogWriter: &keyLog})
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	bottom := &replaceableConn{near}
	roots := web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	client := tls.Client(bottom, &tls.Config{RootCAs: roots, ServerName: "example.com"})
	must(t, client.Handshake())
	must(t, <-shaken)
	socket := NewSocket(near)
	bottom.Conn = socket
	c := New(client, socket, testConfig())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		c.Run()
	}()

	w := newKeyedWriter(t, far, server.ConnectionState(), keyLog.String())
	w.frame(http2.FrameSettings, "")
	const updates = 1_000_000 // each has an answer of some 27 bytes
	for i := range updates {
		w.update()
		if i%10 == 0 { // crypto/tls takes 16 records in a row without data
			w.frame(0xfa, "") // a frame of an unknown type, which has no answer
		}
		if w.err != nil {
			break
		}
	}
	if w.err == nil {
		t.Error("the client takes whatever comes")
	}
	waittest.Await(t, ran, "the end of the connection")
	if err := c.Err(); !errors.Is(err, errNotReading) && !errors.Is(err, errTooMuchGathered) {
		t.Errorf("the connection ended with %v, want that the server does not read", err)
	}
	if n := cap(socket.out) + cap(socket.spare); n > 4*maxGatheredBytes {
		t.Errorf("%d bytes wait to be written", n)
	}
}
