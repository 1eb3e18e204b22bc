// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"container/list"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
	"github.com/shoot-proxy/proxy-client/internal/h2server"
)

// maxHandshakes is how many connections may be in their handshake. A further one closes
// the one that has taken longest: a client with a certificate needs a few milliseconds.
const maxHandshakes = 256

// handshakes are the connections in their handshake, the oldest first.
type handshakes struct {
	most int

	mu   sync.Mutex
	open list.List // of net.Conn
}

// add keeps a connection until its handshake is done, and returns how to remove it.
func (h *handshakes) add(conn net.Conn) (done func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open.Len() >= h.most {
		oldest := h.open.Front()
		_ = oldest.Value.(net.Conn).Close()
		h.open.Remove(oldest)
	}
	element := h.open.PushBack(conn)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.open.Remove(element) // does nothing if it was removed
	}
}

func (h *handshakes) closeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for e := h.open.Front(); e != nil; e = e.Next() {
		_ = e.Value.(net.Conn).Close()
	}
}

// serve serves one accepted connection until it ends.
func (s *Server) serve(tcp net.Conn) {
	defer tcp.Close()
	done := s.handshakes.add(tcp)
	c, err := s.handshake(tcp)
	done()
	if err != nil {
		s.Metrics.connections[ResultHandshake].Inc()
		s.logFailedHandshake(tcp.RemoteAddr().String(), err)
		return
	}
	memory, problem := s.usage.addConnection(c.key)
	c.begin(memory)
	if problem != "" {
		s.Metrics.connections[ResultLimit].Inc()
		s.limitedLog("a client's connection was closed", "from", c.from, "client", c.name, "error", problem)
		c.http2.Refuse(http2.ErrCodeEnhanceYourCalm, problem)
		return
	}
	defer s.usage.removeConnection(c.key)
	if !s.add(c) {
		c.http2.Refuse(http2.ErrCodeNo, "the exit is ending")
		return
	}
	defer s.remove(c)
	s.Logger.Info("a client has connected", "client", c.name, "identity", c.words, "from", c.from)
	began := time.Now()
	err = c.run()
	s.Metrics.connections[ResultServed].Inc()
	ended := []any{"client", c.name, "from", c.from, "duration", time.Since(began).Round(time.Millisecond).String()}
	if err != nil {
		ended = append(ended, "error", err)
	}
	if _, ok := errors.AsType[*h2server.Fault](err); ok {
		s.Metrics.faults.Inc()
		s.limitedLog("a client's connection was ended for what it sent", ended...)
		return
	}
	s.Logger.Info("a client's connection has ended", ended...)
}

// maxChain is how many bytes of certificates a client may send. crypto/tls keeps all of
// them for as long as the connection is open.
const maxChain = 32 << 10

const (
	// pingInterval and pingTimeout notice a client that is gone. Its streams' targets are
	// reset then.
	pingInterval = 15 * time.Second
	pingTimeout  = 15 * time.Second
	// writeTimeout is for a client that reads nothing at all, not even for other streams.
	writeTimeout = 30 * time.Second
)

// handshake makes a client of a TCP connection. HTTP/2 has not begun on it.
func (s *Server) handshake(tcp net.Conn) (*client, error) {
	certificates, err := s.Certificates()
	if err != nil {
		return nil, err
	}
	config := certificates.tlsConfig()
	config.VerifyPeerCertificate = func(chain [][]byte, _ [][]*x509.Certificate) error {
		size := 0
		for _, certificate := range chain {
			size += len(certificate)
		}
		if size > maxChain {
			return &largeChainError{size}
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.HandshakeTimeout)
	defer cancel()
	socket := h2server.NewSocket(tcp)
	conn := tls.Server(socket, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != "h2" {
		return nil, &noHTTP2Error{state.PeerCertificates[0]}
	}
	id := exitpolicy.IdentityOf(state.PeerCertificates[0])
	c := &client{
		server: s, id: id, name: id.String(), words: clip.Text(id.Selectors(), clip.Sentence), key: keyOf(id), from: tcp.RemoteAddr().String(),
		chain: state.PeerCertificates, version: certificates.Version, expires: endOf(state.VerifiedChains),
		streams: map[*stream]struct{}{},
		tls:     conn, socket: socket,
	}
	return c, nil
}

// begin begins HTTP/2. memory is the client's share, which a connection that is refused
// does not need.
func (c *client) begin(memory *h2server.Share) {
	c.http2 = h2server.New(c.tls, c.socket, h2server.Config{
		Serve: c.serve, MaxStreams: c.server.Limits.ClientStreams, Memory: memory,
		StartTimeout: c.server.HandshakeTimeout, PingInterval: pingInterval, PingTimeout: pingTimeout, WriteTimeout: writeTimeout,
	})
}

// keyOf returns a text that is the same for equal identities only.
func keyOf(id exitpolicy.Identity) string {
	return fmt.Sprintf("%q %q %q", id.CommonName, id.DNSNames, id.URIs)
}
