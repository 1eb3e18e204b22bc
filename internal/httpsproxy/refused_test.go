// SPDX-License-Identifier: Apache-2.0

package httpsproxy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/http1"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/spare"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

func newTestDialer(mode tunnel.Mode) *Dialer {
	server := tunnel.Server{Name: "proxy:9443", Network: tunnel.NetworkUnix, Address: "/nowhere", Mode: mode}
	to := serverconn.NewConnector(nil, options.SettingNames(), 0).Endpoint(server, netip.AddrPort{})
	return New(to, nil, &spare.Shared{Most: 0})
}

// TestRefusals: the reason of each answer, and whether another proxy is asked. The texts are
// those of Envoy, squid 5.7, Apache 2.4 and RFC 9209. No word is about konnectivity.
func TestRefusals(t *testing.T) {
	const target, server, refusal = tunnel.FaultTarget, tunnel.FaultServer, tunnel.FaultRefusal
	for _, tc := range []struct {
		name, head, text string
		reason           tunnel.Reason
		fault            tunnel.Fault
		says             string
	}{
		{"Envoy, refused", "503 Service Unavailable\r\nserver: envoy", "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: delayed connect error: 111", tunnel.ReasonRefused, target, "envoy"},
		{"Envoy, refused in words", "503 Service Unavailable\r\nserver: envoy", "reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused", tunnel.ReasonRefused, target, "Connection refused"},
		{"Envoy, no route", "503 Service Unavailable\r\nserver: envoy", "delayed connect error: 113", tunnel.ReasonUnreachable, target, "113"},
		{"Envoy, timeout", "503 Service Unavailable\r\nserver: envoy", "upstream connect error or disconnect/reset before headers. reset reason: connection timeout", tunnel.ReasonTimeout, target, "connection timeout"},
		{"Envoy, too many connections", "503 Service Unavailable\r\nserver: envoy", "upstream connect error or disconnect/reset before headers. reset reason: overflow", tunnel.ReasonMaxConnections, server, "overflow"},
		{"Envoy, RBAC", "403 Forbidden\r\nserver: envoy", "RBAC: access denied", tunnel.ReasonForbidden, target, "RBAC"},
		{"Envoy, no CONNECT", "404 Not Found\r\nserver: envoy", "", tunnel.ReasonProtocol, refusal, "is the port right?"},
		{"squid, refused", "503 Service Unavailable\r\nServer: squid/5.7\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\nContent-Type: text/html", "<p>timed out or refused", tunnel.ReasonRefused, target, "ERR_CONNECT_FAIL 111"},
		{"squid, no route", "503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 113", "", tunnel.ReasonUnreachable, target, "squid"},
		{"squid, timeout", "503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 110", "", tunnel.ReasonTimeout, target, "squid"},
		{"squid, no files", "503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 24", "", tunnel.ReasonMaxConnections, server, "squid"},
		{"squid, denied", "403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0", "", tunnel.ReasonForbidden, target, "ERR_ACCESS_DENIED"},
		{"squid, ending", "503 Service Unavailable\r\nX-Squid-Error: ERR_SHUTTING_DOWN 0", "", tunnel.ReasonOther, server, "ERR_SHUTTING_DOWN"},
		{"squid, an unknown error", "403 Forbidden\r\nX-Squid-Error: ERR_NEW 0", "", tunnel.ReasonForbidden, target, "ERR_NEW"},
		{"squid, a password", "407 Proxy Authentication Required\r\nX-Squid-Error: ERR_CACHE_ACCESS_DENIED 0\r\nProxy-Authenticate: Basic", "", tunnel.ReasonForbidden, refusal, "407"},
		{"Apache, cannot connect", "503 Service Unavailable\r\nServer: Apache/2.4\r\nContent-Type: text/html; charset=iso-8859-1", "<title>503</title> connection refused, or whatever", tunnel.ReasonUnreachable, target, "Apache"},
		{"Apache, denied", "403 Forbidden\r\nServer: Apache/2.4\r\nContent-Type: text/html", "<title>", tunnel.ReasonForbidden, target, "Apache"},
		{"Apache, no CONNECT", "405 Method Not Allowed\r\nServer: Apache/2.4", "", tunnel.ReasonProtocol, refusal, "405"},
		{"refused by RFC 9209", "502 Bad Gateway\r\nProxy-Status: exit;error=connection_refused", "", tunnel.ReasonRefused, target, "connection_refused"},
		{"prohibited by RFC 9209", "502 Bad Gateway\r\nProxy-Status: exit;error=destination_ip_prohibited;details=\"by rule 3\"", "", tunnel.ReasonForbidden, target, "by rule 3"},
		{"full by RFC 9209", "503 Service Unavailable\r\nProxy-Status: exit;error=connection_limit_reached", "", tunnel.ReasonMaxConnections, server, "limit"},
		{"an unknown error of RFC 9209", "504 Gateway Timeout\r\nProxy-Status: exit;error=new_one", "", tunnel.ReasonTimeout, target, "new_one"},
		{"overloaded", "503 Service Unavailable\r\nRetry-After: 5", "", tunnel.ReasonOther, server, "503"},
		{"too many requests", "429 Too Many Requests", "", tunnel.ReasonMaxConnections, server, "429"},
		{"an error of its own", "500 Internal Server Error", "", tunnel.ReasonOther, server, "500"},
		{"a bad gateway", "502 Bad Gateway", "", tunnel.ReasonUnreachable, target, "502"},
		{"a timeout", "504 Gateway Timeout", "", tunnel.ReasonTimeout, target, "504"},
		{"a redirection", "302 Found\r\nLocation: /", "", tunnel.ReasonProtocol, refusal, "302"},
		{"not implemented", "501 Not Implemented", "", tunnel.ReasonProtocol, refusal, "501"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, state := http1.Parse([]byte("HTTP/1.1 "+tc.head+"\r\n\r\n"+tc.text), true)
			if state != http1.Complete {
				t.Fatalf("state %d", state)
			}
			d := newTestDialer(tunnel.ModeHTTPSProxy)
			err := d.refused(a)
			if err.Reason != tc.reason || err.Fault != tc.fault || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%s, fault %d: %v; want %s, fault %d, and %q", err.Reason, err.Fault, err, tc.reason, tc.fault, tc.says)
			}
			if said := err.Error() + err.Next; strings.Contains(said, "agent") || strings.Contains(said, "konnectivity") {
				t.Errorf("it blames what is not there: %s", said)
			}
			if err.Next == "" && err.Reason != tunnel.ReasonRefused {
				t.Error("it does not say what to do")
			}
			if d.accepts.Load() == (tc.fault == refusal) {
				t.Error("a server that refuses CONNECT itself counts as a proxy, or the reverse")
			}
		})
	}
}

// TestCustoms: what is known of proxies by their success. Unknown ones get what is safe.
func TestCustoms(t *testing.T) {
	for _, tc := range []struct {
		head   string
		mode   tunnel.Mode
		traits tunnel.Traits
		custom custom
	}{
		{"HTTP/1.1 200 OK\r\nserver: envoy", tunnel.ModeAuto, tunnel.Traits{Backpressure: true}, custom{}},
		{"HTTP/1.1 200 Connection established", tunnel.ModeAuto, tunnel.Traits{Backpressure: true}, custom{}},
		{"HTTP/1.0 200 Connection Established\r\nProxy-agent: Apache/2.4.71 (Debian)", tunnel.ModeAuto, tunnel.Traits{Backpressure: true, HalfClose: true}, custom{true, true}},
		{"HTTP/1.0 200 Connection Established\r\nProxy-agent: Apache-Traffic/1", tunnel.ModeAuto, tunnel.Traits{Backpressure: true}, custom{}},
		{"HTTP/1.1 200 Connection Established", tunnel.ModeAuto, tunnel.Traits{}, custom{}},
		{"HTTP/1.1 200 Connection Established", tunnel.ModeHTTPSProxy, tunnel.Traits{Backpressure: true}, custom{}},
	} {
		d := newTestDialer(tc.mode)
		a, _ := http1.Parse([]byte(tc.head+"\r\n\r\n"), false)
		c := &connection{dialer: d}
		c.established(a)
		if c.Traits() != tc.traits || c.custom != tc.custom {
			t.Errorf("%q in mode %s: %+v, %+v; want %+v, %+v", tc.head, tc.mode, c.Traits(), c.custom, tc.traits, tc.custom)
		}
	}
}

// FuzzRefused: whatever an answer says, its reason is one of the closed set, and the error
// is short and one line.
func FuzzRefused(f *testing.F) {
	f.Add("503 No\r\nX-Squid-Error: ERR_CONNECT_FAIL x", "delayed connect error: 99999999999999999999")
	f.Add("600 \r\nProxy-Status: ;error=\"", "")
	f.Fuzz(func(t *testing.T, head, text string) {
		a, state := http1.Parse([]byte("HTTP/1.1 "+head+"\r\n\r\n"+text), true)
		if state != http1.Complete || a.Successful() {
			return
		}
		err := newTestDialer(tunnel.ModeAuto).refused(a)
		if !slices.Contains(tunnel.Reasons(), err.Reason) {
			t.Errorf("reason %q is not one of the closed set", err.Reason)
		}
		if words := err.Error(); len(words) > 4<<10 || strings.ContainsAny(words, "\r\n") {
			t.Errorf("the error has %d bytes, or more than one line: %.100q", len(words), words)
		}
	})
}
