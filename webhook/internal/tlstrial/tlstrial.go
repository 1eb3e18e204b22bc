// SPDX-License-Identifier: Apache-2.0

// Package tlstrial tries a TLS handshake with a proxy-server, and says in words why it
// fails.
//
// It never puts the content of a key or a certificate's bytes into a sentence.
package tlstrial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Names are what the client's files and the server are called in sentences.
type Names struct {
	CA, Client string // the objects with the files
	Server     string // the name that the server's certificate must have
}

// maxNames is how many names of a certificate a sentence has.
const maxNames = 5

// afterHandshake is how long to wait for a server that refuses the client certificate.
// With TLS 1.3 it does so only after the client's handshake.
const afterHandshake = time.Second

// Handshake returns what is wrong between a client's TLS files and the server, and what to
// do. Both are empty if nothing is.
func Handshake(ctx context.Context, client *tls.Conn, names Names, now time.Time) (problem, remedy string) {
	err := client.HandshakeContext(ctx)
	if err == nil {
		_ = client.SetReadDeadline(time.Now().Add(afterHandshake)) // without it ctx ends the read
		_, err = client.Read(make([]byte, 1))
		if timeout, ok := errors.AsType[net.Error](err); err == nil || ok && timeout.Timeout() {
			return "", ""
		}
	}
	unknown, isUnknown := errors.AsType[x509.UnknownAuthorityError](err)
	name, isName := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	_, isPlain := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case isUnknown && unknown.Cert != nil:
		return fmt.Sprintf("The CA in %s did not sign the server's certificate (issuer %q).", names.CA, unknown.Cert.Issuer), "put the CA of the server's port for clients into it"
	case isName:
		return fmt.Sprintf("The server's certificate is not for %q, but for %s.", names.Server, namesOf(name.Certificate)), "set proxyServer.serverName to one of these names"
	case isInvalid && invalid.Reason == x509.Expired && now.Before(invalid.Cert.NotBefore):
		return fmt.Sprintf("The server's certificate is not valid before %s.", minute(invalid.Cert.NotBefore)), "compare the clocks"
	case isInvalid && invalid.Reason == x509.Expired:
		return fmt.Sprintf("The server's certificate expired on %s.", day(invalid.Cert.NotAfter)), "renew the proxy-server's certificate"
	case isPlain:
		return "The server does not speak TLS at this port.", "correct the port in proxyServer.addresses: it is the server's --server-port, for clients"
	case strings.Contains(err.Error(), "remote error: tls"):
		return fmt.Sprintf("The server refuses the client certificate in %s (%s).", names.Client, oneLine(err.Error())), "have one issued by the CA that the server has in --server-ca-cert"
	default:
		return fmt.Sprintf("The TLS handshake with the server fails: %s.", oneLine(err.Error())), "look at the proxy-server's log"
	}
}

// namesOf returns the names and addresses in a certificate.
func namesOf(c *x509.Certificate) string {
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no name at all"
	}
	if more := len(names) - maxNames; more > 0 {
		names = append(names[:maxNames], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

func day(t time.Time) string     { return t.UTC().Format(time.DateOnly) }
func minute(t time.Time) string  { return t.UTC().Format("2006-01-02 15:04 UTC") }
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
