// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/clip"
)

// Messages about failed handshakes.
const (
	oneFailed  = "a client's handshake failed"
	manyFailed = "clients' handshakes failed"
)

// handshakeCause says which failed handshakes share a line. It has nothing that a peer
// chooses, so there are few.
type handshakeCause string

// The causes.
const (
	causeTimeout     handshakeCause = "timeout"
	causeEnded       handshakeCause = "ended"
	causeClosed      handshakeCause = "closed"
	causeNone        handshakeCause = "no certificate"
	causeRefused     handshakeCause = "refused by the client"
	causeUnknownCA   handshakeCause = "unknown CA"
	causeLife        handshakeCause = "not valid now"
	causeUsage       handshakeCause = "not for clients"
	causeCertificate handshakeCause = "bad certificate"
	causeLargeChain  handshakeCause = "many certificates"
	causeNoHTTP2     handshakeCause = "no h2"
	causeOther       handshakeCause = "other"
)

// noHTTP2Error is the error of a client that does not offer h2 in ALPN.
type noHTTP2Error struct{ certificate *x509.Certificate }

// Error implements error.
func (*noHTTP2Error) Error() string { return "the client does not offer h2 in ALPN" }

// largeChainError is the error of a client that has sent more than maxChain bytes of
// certificates.
type largeChainError struct{ size int }

// Error implements error.
func (e *largeChainError) Error() string {
	return fmt.Sprintf("the client has sent %d bytes of certificates, and %d are allowed", e.size, maxChain)
}

// logFailedHandshake logs a handshake that has failed with err. If there are many for the same
// cause and certificate, they share a line.
func (s *Server) logFailedHandshake(from string, err error) {
	now := time.Now()
	cause, problem := s.handshakeProblem(err, now)
	key := repeatKey{destination: shownCertificate(err), cause: string(cause)}
	values := []any{"from", from, "error", problem}
	if !s.failed.add(now, key, "", manyFailed, values) {
		return
	}
	if key.destination != "" {
		values = append(values, "certificate", key.destination)
	}
	s.limitedLog(oneFailed, values...)
}

// shownCertificate returns the subject of the certificate that a client has shown, or an empty
// text. A subject need not be true: no CA may have signed it.
func shownCertificate(err error) string {
	var shown *x509.Certificate
	if failed, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(failed.UnverifiedCertificates) > 0 {
		shown = failed.UnverifiedCertificates[0]
	} else if failed, ok := errors.AsType[*noHTTP2Error](err); ok {
		shown = failed.certificate
	}
	if shown == nil {
		return ""
	}
	return clip.Text(clip.Printable(shown.Subject.String()), clip.Clause)
}

// handshakeProblem returns why a handshake failed, and the same for people.
func (s *Server) handshakeProblem(err error, now time.Time) (handshakeCause, string) {
	if failed, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return s.certificateProblem(failed, now)
	}
	if _, ok := errors.AsType[*largeChainError](err); ok {
		return causeLargeChain, err.Error()
	}
	if _, ok := errors.AsType[*noHTTP2Error](err); ok {
		return causeNoHTTP2, err.Error()
	}
	refused, _ := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return causeTimeout, "it took too long"
	case errors.Is(err, io.EOF):
		return causeEnded, "the client has ended the connection"
	case errors.Is(err, net.ErrClosed):
		return causeClosed, "closed for newer connections, or as the exit is ending"
	case strings.Contains(err.Error(), "didn't provide a certificate"):
		return causeNone, "the client has shown no certificate that a CA in " + s.ClientCA + " has signed: give it one"
	case refused != nil && refused.Op == "remote error": // an alert, for which crypto/tls exports no type
		return causeRefused, fmt.Sprintf("the client does not accept the exit's certificate or its TLS (%v): the client's log says why", refused.Err)
	default:
		return causeOther, err.Error()
	}
}

// certificateProblem returns why a client's certificate was not accepted, and the same for
// people, with the cure.
func (s *Server) certificateProblem(failed *tls.CertificateVerificationError, now time.Time) (handshakeCause, string) {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](failed.Err); ok {
		return causeUnknownCA, "no CA in " + s.ClientCA + " has signed the client's certificate: give the client one of these CAs, or add its CA there"
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](failed.Err)
	switch {
	case ok && invalid.Reason == x509.Expired && invalid.Cert != nil && now.Before(invalid.Cert.NotBefore):
		return causeLife, fmt.Sprintf("%s is not valid before %s, and the exit's clock says %s: wait, or set the clock right",
			whose(invalid.Cert, failed), invalid.Cert.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case ok && invalid.Reason == x509.Expired && invalid.Cert != nil:
		return causeLife, fmt.Sprintf("%s expired on %s, and the exit's clock says %s: renew it",
			whose(invalid.Cert, failed), invalid.Cert.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case ok && invalid.Reason == x509.IncompatibleUsage:
		return causeUsage, "the client's certificate is not for clients: have it issued with the extended key usage clientAuth"
	default:
		return causeCertificate, "the client's certificate is not accepted: " + failed.Err.Error()
	}
}

// whose says whether a certificate is the client's own or one that has signed it.
func whose(certificate *x509.Certificate, failed *tls.CertificateVerificationError) string {
	if len(failed.UnverifiedCertificates) > 0 && certificate.Equal(failed.UnverifiedCertificates[0]) {
		return "the client's certificate"
	}
	return fmt.Sprintf("the CA certificate %q behind the client's", clip.Text(certificate.Subject.String(), clip.Clause))
}
