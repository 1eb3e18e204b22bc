// SPDX-License-Identifier: Apache-2.0

package tlstrial

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
)

// TestHandshake: the cause of each failed handshake with a real TLS server is named, and
// no other.
func TestHandshake(t *testing.T) {
	ca, other := certtest.NewCA(t, "server CA"), certtest.NewCA(t, "other CA")
	clientCA := certtest.NewCA(t, "client CA")
	client := clientCA.Issue(t, x509.Certificate{Subject: pkix.Name{CommonName: "client"}})
	good := x509.Certificate{Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"server.shoot.svc"}}
	expired, early, nameless := good, good, good
	expired.NotAfter = time.Now().Add(-time.Minute)
	early.NotBefore = time.Now().Add(time.Minute)
	nameless.DNSNames = nil
	for _, tt := range []struct {
		name    string
		server  *certtest.Pair // nil: it does not speak TLS
		clients *certtest.Pair // the CA that the server accepts
		version uint16
		want    string
	}{
		{"all is well", ca.Issue(t, good), clientCA, tls.VersionTLS13, ""},
		{"all is well with TLS 1.2", ca.Issue(t, good), clientCA, tls.VersionTLS12, ""},
		{"another CA", other.Issue(t, good), clientCA, tls.VersionTLS13, `The CA in Secret a/ca did not sign the server's certificate (issuer "CN=other CA").`},
		{"expired", ca.Issue(t, expired), clientCA, tls.VersionTLS13, "The server's certificate expired on "},
		{"not valid yet", ca.Issue(t, early), clientCA, tls.VersionTLS13, "The server's certificate is not valid before "},
		{"another name", ca.Issue(t, x509.Certificate{DNSNames: []string{"proxy"}}), clientCA, tls.VersionTLS13, `The server's certificate is not for "server.shoot.svc", but for proxy.`},
		{"no name", ca.Issue(t, nameless), clientCA, tls.VersionTLS13, `The server's certificate is not for "server.shoot.svc", but for no name at all.`},
		{"client refused", ca.Issue(t, good), other, tls.VersionTLS13, "The server refuses the client certificate in Secret a/client ("},
		{"client refused with TLS 1.2", ca.Issue(t, good), other, tls.VersionTLS12, "The server refuses the client certificate in Secret a/client ("},
		{"no TLS", nil, nil, 0, "The server does not speak TLS at this port."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			served := make(chan struct{})
			go func() {
				defer close(served)
				far, err := listener.Accept()
				if err != nil {
					return
				}
				defer far.Close()
				serve(far, tt.server, tt.clients, tt.version)
			}()
			near, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			conn := tls.Client(near, &tls.Config{RootCAs: ca.Pool(), ServerName: "server.shoot.svc", Certificates: []tls.Certificate{client.TLS()}})
			problem, remedy := Handshake(t.Context(), conn, Names{CA: "Secret a/ca", Client: "Secret a/client", Server: "server.shoot.svc"}, time.Now())
			near.Close()
			<-served
			if tt.want == "" && problem != "" || !strings.HasPrefix(problem, tt.want) {
				t.Errorf("got %q, want %q", problem, tt.want)
			}
			if (problem == "") != (remedy == "") {
				t.Errorf("the problem is %q, and the remedy is %q", problem, remedy)
			}
		})
	}
}

// serve answers one connection.
func serve(conn net.Conn, server, clients *certtest.Pair, version uint16) {
	if server == nil {
		buffer := make([]byte, 4096)
		_, _ = conn.Read(buffer)
		_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		return
	}
	s := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{server.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients.Pool(), MaxVersion: version})
	if s.Handshake() != nil {
		return
	}
	_, _ = s.Write([]byte{0})
	_, _ = s.Read(make([]byte, 1)) // until the client leaves
}
