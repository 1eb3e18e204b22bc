// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// modes records the modes that a server in mode auto was found to have, from its log lines.
type modes struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (m *modes) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.Write(p)
}

// found returns the modes in their order.
func (m *modes) found() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for line := range strings.Lines(m.text.String()) {
		if _, rest, ok := strings.Cut(line, "mode found out"); ok {
			_, mode, _ := strings.Cut(rest, " mode=")
			mode, _, _ = strings.Cut(mode, " ")
			all = append(all, mode)
		}
	}
	return strings.Join(all, " ")
}

// TestTheKindIsKept: what an answer to CONNECT has shown of a server stays, whatever else
// answers in its place for a while, such as a load balancer in front. Only the other kind's
// own success changes it.
func TestTheKindIsKept(t *testing.T) {
	const (
		envoys    = "HTTP/1.1 200 OK\r\nserver: envoy\r\n\r\n"
		page      = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
		noConnect = "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n"
		namedOne  = "HTTP/1.1 503 Service Unavailable\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n"
		foreign   = "SSH-2.0-OpenSSH\r\n"
	)
	type answers struct{ greeting, connect string }
	proxy, konnectivity := answers{fromEnvoy, envoys}, answers{nameless, establishedLine}
	for _, tc := range []struct {
		name  string
		turns []answers
		want  string // the modes that were found out
	}{
		{"a proxy behind a page without a name", []answers{proxy, {nameless, page}, proxy}, "https-proxy"},
		{"a proxy behind what accepts no CONNECT", []answers{proxy, {nameless, noConnect}, {nameless, page}, proxy}, "https-proxy"},
		{"a proxy behind what is no HTTP", []answers{proxy, {foreign, foreign}, {nameless, page}, proxy}, "https-proxy"},
		{"a proxy that has only refused", []answers{{fromEnvoy, refusal}, {nameless, noConnect}, {nameless, page}, proxy}, "https-proxy"},
		{"a nameless proxy that was shown by its success", []answers{{nameless, envoys}, {nameless, noConnect}, {nameless, page}}, "http-connect https-proxy"},
		{"konnectivity behind a page with a name", []answers{konnectivity, {namedOne, namedOne}, konnectivity}, "http-connect"},
		{"konnectivity in place of a proxy", []answers{proxy, {nameless, page}, konnectivity, konnectivity}, "https-proxy http-connect"},
		{"a proxy in place of konnectivity", []answers{konnectivity, proxy, proxy}, "http-connect https-proxy"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p, found := newPKI(t), &modes{}
			s := newStandard("", "")
			d := newDialer(t, p.client(), hang, s.serve(t, p, tunnel.ModeAuto))
			d.log = options.Log{Format: "text"}.Logger(found)
			for _, turn := range tc.turns {
				s.greeting.Store(turn.greeting)
				s.connect.Store(turn.connect)
				time.Sleep(checkPause) // so long a failed check holds
				_ = d.endpoint(t).Check(t.Context())
				for range 2 {
					if conn, err := d.attempt(t); err == nil {
						_, _ = receiveAll(conn)
						_ = conn.Close()
					}
				}
			}
			if got := found.found(); got != tc.want {
				t.Errorf("the modes found out are %q, want %q", got, tc.want)
			}
		})
	}
}

// TestTheKindIsKeptWithHTTP2: a check of a standard proxy that chooses HTTP/2 by ALPN does
// not make it a proxy-server for a moment.
func TestTheKindIsKeptWithHTTP2(t *testing.T) {
	p, found := newPKI(t), &modes{}
	l := listen(t)
	srv := &http.Server{TLSConfig: p.serverConfig(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.ProtoMajor != 1 {
			http.NotFound(w, r)
			return
		}
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nvia: x\r\n\r\n")
			_ = conn.Close()
		}
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.ServeTLS(l, "", "") })
	t.Cleanup(func() { _ = srv.Close(); serving.Wait() })
	d := newDialer(t, p.client(), hang, tcpServer(l, tunnel.ModeAuto))
	d.log = options.Log{Format: "text"}.Logger(found)
	for range 3 {
		must(t, asError(d.endpoint(t).Check(t.Context())))
	}
	if got, want := found.found(), string(tunnel.ModeHTTPSProxy); got != want {
		t.Errorf("the modes found out are %q, want %q", got, want)
	}
}
