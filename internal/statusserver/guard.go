// SPDX-License-Identifier: Apache-2.0

package statusserver

import (
	"crypto/subtle"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// policy is the Content-Security-Policy of each answer: nothing but our own files, no
// script in the page's text, no page of another origin around it, and no HTML that a
// script makes of a text (Trusted Types).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// guard refuses requests that do not come from a person or program on loopback, and adds
// the headers that all answers have.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Security-Policy", policy)
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		switch {
		case !isLoopback(r.Host):
			refuse(w, fmt.Sprintf("the host %q is not on loopback: ask for 127.0.0.1 or localhost", r.Host))
		case !sameOrigin(r):
			refuse(w, "a page of another origin has made this request: open the address itself")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func refuse(w http.ResponseWriter, why string) {
	http.Error(w, "refused: "+why, http.StatusForbidden)
}

// isLoopback reports whether host, with or without a port, is on loopback. A port-forward
// may give it any port.
func isLoopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(name)
	return err == nil && address.Zone() == "" && address.IsLoopback()
}

// sameOrigin reports whether r was made by a program, by a person who has typed the
// address, or by our own page. Browsers set Sec-Fetch-Site and Origin, and no script can
// change them (Fetch Metadata, RFC 6454). A link from another page may open the page.
func sameOrigin(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		from, err := url.Parse(origin)
		if err != nil || from.Scheme != "http" || from.Host != r.Host {
			return false
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return true
	default:
		return r.Method == http.MethodGet && r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	}
}

// tokenHeader has the token of a drain.
const tokenHeader = "X-Drain-Token"

// drain returns the handler of POST /drain. The request is JSON with the token in a
// header of its own. A page of another origin can send neither without asking first
// (Fetch: CORS-preflight), and nothing here answers such a question.
func drain(token string, begin func(from string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || kind != "application/json" {
			http.Error(w, "refused: the content type of a drain is application/json", http.StatusUnsupportedMediaType)
			return
		}
		if subtle.ConstantTimeCompare([]byte(r.Header.Get(tokenHeader)), []byte(token)) != 1 {
			refuse(w, "the token of the drain is wrong: load the page again, since each start has a new one")
			return
		}
		begin(r.RemoteAddr)
		w.WriteHeader(http.StatusAccepted)
		_, _ = fmt.Fprintln(w, "draining") // the client may have gone
	})
}
