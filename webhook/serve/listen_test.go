// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// A client that opens many connections neither fills the process nor delays the answers
// to kube-apiserver.
func TestIdleConnectionsKeepNoAdmissionOut(t *testing.T) {
	r := start(t, plainSources(t), noWait)
	address := strings.TrimSuffix(strings.TrimPrefix(r.url, "https://"), Path)
	const flood = 100
	var idle []net.Conn
	for range flood {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
	}
	if _, err := r.send(r.client(), review(t, creation(t, labelled()))); err != nil {
		t.Errorf("an admission beside %d idle connections: %v", flood, err)
	}
	r.eventually("the connections beyond the bound were closed", func() bool {
		ended := 0
		for _, c := range idle {
			if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			_, err := c.Read(make([]byte, 1))
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				ended++
			}
		}
		return ended >= flood-r.server.connections
	})
	r.stop()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// kube-apiserver's webhook client uses HTTP/1.1, and the server offers only that.
func TestOnlyHTTP1IsSpoken(t *testing.T) {
	r := start(t, plainSources(t), noWait)
	c, err := tls.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(r.url, "https://"), Path), &tls.Config{RootCAs: r.ca.pool, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("ALPN chose %q, want http/1.1", got)
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 4*maxHeaderBytes)+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len("HTTP/1.1 431"))
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "HTTP/1.1 431" {
		t.Errorf("headers of %d bytes were answered with %q and %v, want status 431", 4*maxHeaderBytes, answer, err)
	}
	r.stop()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}
