// SPDX-License-Identifier: Apache-2.0

package check

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestWhatTheTargetSpeaks: a target's first bytes, or its answer to TLS or HTTP, are shown.
// None of them is a failure.
func TestWhatTheTargetSpeaks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		target func(*testing.T, *world) func(net.Conn)
		result report.Result
		words  string
	}{
		{"TLS", tlsTarget(x509.Certificate{DNSNames: []string{"kubelet"}}), report.OK, `speaks TLS 1.3`},
		{"TLS with an expired certificate", tlsTarget(x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}), report.Warning, "expired on"},
		{"HTTP", plain("", "HTTP/1.0 204 No Content\r\n\r\n"), report.OK, `"HTTP/1.0 204 No Content"`},
		{"it speaks first", plain("SSH-2.0-test\r\n", ""), report.OK, `speaks first`},
		{"another protocol", plain("", "-ERR unknown command\r\n"), report.OK, `speaks neither TLS nor HTTP: its answer begins "-ERR`},
		{"it closes at once", func(*testing.T, *world) func(net.Conn) { return func(net.Conn) {} }, report.OK, "closes the connection without a byte"},
		{"it is silent", func(*testing.T, *world) func(net.Conn) {
			return func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
		}, report.OK, "is silent"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tc.name != "it is silent" {
				w.speak = waittest.Limit // it never decides
			}
			if tc.name == "it speaks first" {
				w.greet = waittest.Limit
			}
			w.server.change(func(s *fakeServer) { s.targets[pod] = tc.target(t, w) })
			got := w.run(t)
			found := false
			for _, s := range got.Steps {
				if s.Name != report.StepAnswer {
					continue
				}
				found = true
				if s.Result != tc.result || !strings.Contains(s.Found, tc.words) {
					t.Errorf("the step is %s, and does not say %q: %s", s.Result, tc.words, s.Found)
				}
				if (s.Cause == report.CauseTargetSilent) != (tc.name == "it is silent") {
					t.Errorf("the cause is %q", s.Cause)
				}
				if strings.HasPrefix(tc.name, "TLS") && (len(s.Certificates) == 0 || s.ALPN != "http/1.1") {
					t.Errorf("the target's certificate is missing, or its ALPN protocol %q is wrong", s.ALPN)
				}
			}
			if !found || got.Result != tc.result {
				t.Errorf("the result is %s:\n%s", got.Result, textOfReport(t, got))
			}
		})
	}
}

// tlsTarget is a target that speaks TLS.
func tlsTarget(template x509.Certificate) func(*testing.T, *world) func(net.Conn) {
	return func(t *testing.T, w *world) func(net.Conn) {
		config := &tls.Config{Certificates: []tls.Certificate{w.otherCA.Issue(t, template).TLS()}, NextProtos: []string{"http/1.1"}}
		return func(c net.Conn) {
			secured := tls.Server(c, config)
			_ = secured.Handshake()
			_, _ = io.Copy(io.Discard, c)
		}
	}
}

// plain is a target that sends first, and answers what it gets with answer.
func plain(first, answer string) func(*testing.T, *world) func(net.Conn) {
	return func(*testing.T, *world) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = io.WriteString(c, first)
			if _, err := c.Read(make([]byte, 4096)); err == nil {
				_, _ = io.WriteString(c, answer)
			}
		}
	}
}
