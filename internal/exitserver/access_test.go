// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/proxystatus"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestStrangersAreNoClients: without a certificate that the CA has signed for clients there
// is no connection, and none over TLS 1.2.
func TestStrangersAreNoClients(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, nil)
	forClients := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	foreign := certtest.NewCA(t, "test CA").Issue(t, x509.Certificate{Subject: pkix.Name{CommonName: "app"}, ExtKeyUsage: forClients})
	expired := e.ca.Issue(t, x509.Certificate{Subject: pkix.Name{CommonName: "app"}, ExtKeyUsage: forClients, NotAfter: time.Now().Add(-time.Minute)})
	future := e.ca.Issue(t, x509.Certificate{Subject: pkix.Name{CommonName: "app"}, ExtKeyUsage: forClients, NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)})
	server := e.ca.Issue(t, x509.Certificate{Subject: pkix.Name{CommonName: "app"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	good := e.certificate(t, "app")
	old, h1 := e.clientTLS(good), e.clientTLS(good)
	old.MaxVersion = tls.VersionTLS12
	h1.NextProtos = []string{"http/1.1"}
	none := e.clientTLS(good)
	none.NextProtos = nil
	suspicious := e.clientTLS(good)
	suspicious.RootCAs = certtest.NewCA(t, "another CA").Pool()
	big := e.clientTLS(good)
	for range 100 {
		big.Certificates[0].Certificate = append(big.Certificates[0].Certificate, e.ca.Cert.Raw)
	}
	// Without a certificate that the exit has looked at, a line cannot name it.
	notShown := map[string]bool{"no certificate": true, "foreign to the client": true, "TLS 1.2": true, "many certificates": true}
	for _, tt := range []struct {
		name, logged string
		cfg          *tls.Config
	}{
		{"no certificate", "the client has shown no certificate that a CA in --client-ca=clients.crt has signed", e.clientTLS(nil)},
		{"foreign to the client", "the client does not accept the exit's certificate or its TLS (tls: bad certificate)", suspicious},
		{"foreign CA", "no CA in --client-ca=clients.crt has signed the client's certificate: give", e.clientTLS(foreign)},
		{"expired", "the client's certificate expired on " + expired.Cert.NotAfter.UTC().Format(time.RFC3339), e.clientTLS(expired)},
		{"a server's", "the client's certificate is not for clients: have it issued with the extended key usage clientAuth", e.clientTLS(server)},
		{"not yet valid", "the client's certificate is not valid before " + future.Cert.NotBefore.UTC().Format(time.RFC3339), e.clientTLS(future)},
		{"TLS 1.2", "unsupported versions", old},
		{"HTTP/1.1", "does not offer h2", h1},
		{"no protocol", "does not offer h2", none},
		{"many certificates", "bytes of certificates", big},
	} {
		before := e.metric(t, "proxy_exit_connections_total", "handshake")
		conn, err := tls.Dial("tcp", e.address, tt.cfg)
		if err == nil { // in TLS 1.3 the client is refused after its handshake
			_, err = io.ReadAll(conn)
			_ = conn.Close()
			if err == nil && tt.logged != "does not offer h2" {
				t.Errorf("%s: a clean end", tt.name)
			}
		}
		waittest.Eventually(t, "the count of "+tt.name, func() bool { return e.metric(t, "proxy_exit_connections_total", "handshake") == before+1 })
		waittest.Eventually(t, "the line about "+tt.name, func() bool {
			lines := e.log.Lines(t, "a client's handshake failed")
			last := lines[len(lines)-1]
			said, _ := last["error"].(string)
			if !strings.Contains(said, tt.logged) {
				return false
			}
			want := any("CN=app")
			if notShown[tt.name] {
				want = nil
			}
			if last["certificate"] != want {
				t.Errorf("%s: the line names the certificate %v, want %v", tt.name, last["certificate"], want)
			}
			return true
		})
	}
	if got := e.metric(t, "proxy_exit_connections_total", "served"); got != 0 {
		t.Errorf("%v connections were served", got)
	}
}

// TestRefusals: each refusal has its status and its error, and nothing was dialled that the
// policy does not allow.
func TestRefusals(t *testing.T) {
	t.Parallel()
	dialled := make(chan struct{}, 1)
	target := listen(t, func(conn *net.TCPConn) { dialled <- struct{}{}; _ = conn.Close() })
	_, port, _ := net.SplitHostPort(target)
	closed := freePort(t)
	const policy = `
apiVersion: config.shoot-proxy.io/v1alpha1
kind: ExitPolicy
rules:
- clients: [{commonName: app}]
  cidrs: [0.0.0.0/0, "::/0", 127.0.0.9/32]
  names: ["*.test"]
`
	e := newExit(t, policy, func(c *Config) {
		c.DialTimeout = time.Second
		c.Resolver = names{
			"loopback.test.": {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")},
			"mapped.test.":   {netip.MustParseAddr("::ffff:127.0.0.1")},
			"metadata.test.": {netip.MustParseAddr("169.254.169.254")},
			"nothing.test.":  {},
			"refused.test.":  {netip.MustParseAddr("127.0.0.9")},
		}
	})
	client := e.connect(t, "app")
	for _, tt := range []struct {
		target string
		status int
		error  ProxyError
	}{
		{"127.0.0.9:" + closed, 502, ErrorConnectionRefused},
		{"refused.test:" + closed, 502, ErrorConnectionRefused},
		{"127.0.0.1:" + port, 403, ErrorIPProhibited},
		{"[::ffff:127.0.0.1]:" + port, 403, ErrorIPProhibited},
		{"[::1]:" + port, 403, ErrorIPProhibited},
		{"0.0.0.0:" + port, 403, ErrorIPProhibited},
		{"[::]:" + port, 403, ErrorIPProhibited},
		{"169.254.169.254:80", 403, ErrorIPProhibited},
		{"loopback.test:" + port, 403, ErrorIPProhibited},
		{"LOOPBACK.test.:" + port, 403, ErrorIPProhibited},
		{"mapped.test:" + port, 403, ErrorIPProhibited},
		{"metadata.test:80", 403, ErrorIPProhibited},
		{"loopback.example:" + port, 403, ErrorDenied},
		{"localhost:" + port, 403, ErrorDenied},
		{"nothing.test:80", 502, ErrorDNS},
		{"unknown.test:80", 502, ErrorDNS},
		{"silent.test:80", 502, ErrorDNS},
		{"127.1:" + port, 400, ErrorRequest},
		{"2130706433:" + port, 400, ErrorRequest},
		{"0x7f000001:" + port, 400, ErrorRequest},
		{"[fe80::1%25lo]:80", 400, ErrorRequest},
		{"a_b..test:80", 400, ErrorRequest},
		{"127.0.0.9:0", 400, ErrorRequest},
		{"127.0.0.9:65536", 400, ErrorRequest},
	} {
		refused := e.metric(t, "proxy_exit_refused_total", string(tt.error))
		u, err := tryOpen(client, tt.target)
		if err != nil {
			t.Errorf("CONNECT %s: %v", tt.target, err)
			continue
		}
		status := proxystatus.Parse(u.Header.Values("Proxy-Status"))
		if u.StatusCode != tt.status || status.Proxy != "proxy-exit" || status.Error != string(tt.error) || status.Details == "" {
			t.Errorf("CONNECT %s: status %d, %q, want %d and %s", tt.target, u.StatusCode, u.Header.Get("Proxy-Status"), tt.status, tt.error)
		}
		if u.StatusCode == http.StatusOK { // it has no end
			u.close()
			continue
		}
		if rest, err := io.ReadAll(u.Body); err != nil || len(rest) > 0 {
			t.Errorf("CONNECT %s: %q and %v behind the refusal", tt.target, rest, err)
		}
		if got := e.metric(t, "proxy_exit_refused_total", string(tt.error)); got != refused+1 {
			t.Errorf("CONNECT %s was counted %v times", tt.target, got-refused)
		}
		u.close()
	}
	select {
	case <-dialled:
		t.Error("a forbidden target was dialled")
	default:
	}
	// A request that is no CONNECT is refused, and the connection goes on.
	response, err := client.RoundTrip(&http.Request{Method: http.MethodGet, URL: mustURL("https://127.0.0.9/"), Header: http.Header{}})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 405 {
		t.Errorf("GET has status %d, want 405", response.StatusCode)
	}
	// A client without a rule hears so.
	u := open(t, e.connect(t, "other"), target)
	if status := proxystatus.Parse(u.Header.Values("Proxy-Status")); u.StatusCode != 403 || status.Error != string(ErrorDenied) || status.Details != "the policy has no rule for this client" {
		t.Errorf("a client without a rule: status %d, %+v", u.StatusCode, status)
	}
	if lines := e.log.Lines(t, "a connection was refused"); len(lines) < 20 || lines[0]["error"] != "connection_refused" || lines[0]["client"] != "app" {
		t.Errorf("%d lines about refusals, the first is %v", len(lines), lines)
	} else if lines[0]["identity"] != nil {
		t.Errorf("the identity has nothing to do with the first refusal: %v", lines[0])
	}
	waittest.Eventually(t, "the line about a client without a rule", func() bool {
		lines := e.log.Lines(t, "a connection was refused")
		return lines[len(lines)-1]["identity"] == `commonName "other"`
	})
	if connected := e.log.Lines(t, "a client has connected"); connected[len(connected)-1]["identity"] != `commonName "other"` {
		t.Errorf("the lines about clients that have connected are %v", connected)
	}
}

// TestNamesAreResolvedHere: of several addresses the allowed ones are tried, one by one.
func TestNamesAreResolvedHere(t *testing.T) {
	t.Parallel()
	target := listenEcho(t)
	_, port, _ := net.SplitHostPort(target)
	e := newExit(t, allowLoopback, func(c *Config) {
		c.Resolver = names{"target.test.": {
			netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("127.0.0.99"), netip.MustParseAddr("::ffff:127.0.0.1"),
		}}
	})
	u := open(t, e.connect(t, "app"), "target.test:"+port)
	if u.StatusCode != 200 {
		t.Fatalf("status %d, %v", u.StatusCode, u.Header)
	}
	u.echo(t, "hello")
	_ = u.send.Close()
	waittest.Eventually(t, "the line", func() bool { return len(e.log.Lines(t, "a connection has ended")) == 1 })
	if line := e.log.Lines(t, "a connection has ended")[0]; line["destination"] != "target.test:"+port || line["address"] != target {
		t.Errorf("the line is %v", line)
	}
}

// TestOwnListenerIsNoTarget: a range does not name the exit itself; an address does.
func TestOwnListenerIsNoTarget(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, nil)
	client := e.connect(t, "app")
	if u := open(t, client, e.address); u.StatusCode != 403 {
		t.Errorf("status %d, want 403", u.StatusCode)
	}
	e.setPolicy(t, strings.Replace(allowLoopback, "127.0.0.0/8", "127.0.0.1/32", 1))
	if u := open(t, client, e.address); u.StatusCode != 200 {
		t.Errorf("status %d if it is named, want 200", u.StatusCode)
	}
}

// TestPolicyChange: streams that a new policy does not allow are reset, and others go on.
func TestPolicyChange(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, func(c *Config) { c.Resolver = names{"target.test.": {netip.MustParseAddr("127.0.0.1")}} })
	ended := make(chan error, 1)
	first := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		_, err := io.Copy(conn, conn)
		ended <- err
	})
	second := listenEcho(t)
	_, port, _ := net.SplitHostPort(second)
	client := e.connect(t, "app")
	forbidden, allowed := open(t, client, first), open(t, client, "target.test:"+port)
	forbidden.echo(t, "a")
	allowed.echo(t, "b")
	e.setPolicy(t, allowLoopback+"  ports: ["+port+"]\n")
	e.Recheck()
	forbidden.wantCancelled(t)
	if err := waittest.Await(t, ended, "the end of the target"); err == nil {
		t.Error("the target sees a clean end, want a reset")
	}
	allowed.echo(t, "c")
	waittest.Eventually(t, "the count", func() bool { return e.metric(t, "proxy_exit_close_total", "policy_changed") == 1 })
	if u := open(t, client, first); u.StatusCode != 403 {
		t.Errorf("status %d, want 403", u.StatusCode)
	}
}

// TestCAChange: a client whose CA is not accepted any more loses its streams, and cannot
// make others. A client that the new CAs accept goes on.
func TestCAChange(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, nil)
	target := listenEcho(t)
	client := e.connect(t, "app")
	u := open(t, client, target)
	u.echo(t, "a")
	other := certtest.NewCA(t, "other CA")
	both := x509.NewCertPool()
	both.AddCert(e.ca.Cert)
	both.AddCert(other.Cert)
	server := e.clientCA.Load().Server
	e.clientCA.Store(&Certificates{Server: server, Clients: both, Version: 2})
	e.Recheck()
	u.echo(t, "b")
	e.clientCA.Store(&Certificates{Server: server, Clients: other.Pool(), Version: 3})
	e.Recheck()
	u.wantCancelled(t)
	if refused, err := tryOpen(client, target); err == nil {
		defer refused.close()
		if refused.StatusCode != 403 {
			t.Errorf("status %d after that, want 403", refused.StatusCode)
		}
	} // or the client has seen GOAWAY
}

// TestExpiredClient: a certificate that ends during a connection gives no further stream.
func TestExpiredClient(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, nil)
	c := &client{server: e.Server, chain: []*x509.Certificate{{NotAfter: time.Now().Add(-time.Second)}}}
	if _, err := c.rights(); err == nil || !strings.Contains(err.Error(), "has expired") {
		t.Errorf("got %v", err)
	}
}

// TestADestinationThatIsNoTarget: the log has what the client has sent, and not what the exit
// made of it.
func TestADestinationThatIsNoTarget(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, nil)
	var want []string
	for _, sent := range []string{":80", "[fe80::1%eth0]:80", "a_b:", "-.test:443", strings.Repeat("a", 400) + ":80"} {
		r := e.raw(t, "app")
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		for _, field := range []hpack.HeaderField{{Name: ":method", Value: "CONNECT"}, {Name: ":authority", Value: sent}} {
			if err := encoder.WriteField(field); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.headers(1, block.Bytes()); err != nil {
			t.Fatal(err)
		}
		want = append(want, clip.Text(sent, clip.Clause))
	}
	waittest.Eventually(t, "the lines", func() bool { return len(e.log.Lines(t, oneRefused)) == len(want) })
	var got []string
	for _, line := range e.log.Lines(t, oneRefused) {
		got = append(got, line["destination"].(string))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("destinations (-want +got):\n%s", diff)
	}
}

// FuzzTarget: an authority is a target that the exit understands in one way, or a clause.
func FuzzTarget(f *testing.F) {
	for _, text := range []string{"127.0.0.1:80", "[::1]:80", "[::ffff:1.2.3.4]:80", "a.b.:443", "[fe80::1%eth0]:1", "A_b-c.d:65535", "1.2:3", ":80", "a:b:c", "[a]:1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, authority string) {
		got, problem := parseTarget(authority)
		if problem != "" {
			if header := refuse(400, ErrorRequest, "%s", problem+authority).header(); proxystatus.Parse([]string{header}).Error != "http_request_error" {
				t.Errorf("a peer does not understand %q", header)
			}
			return
		}
		if got.port == 0 || (got.name == "") != got.addr.IsValid() || got.addr.Is4In6() || got.addr.Zone() != "" {
			t.Errorf("%q is %+v", authority, got)
		}
		if again, problem := parseTarget(got.String()); problem != "" || again != got {
			t.Errorf("%q is %+v, and %q is %+v %s", authority, got, got.String(), again, problem)
		}
		if _, err := netip.ParseAddr(got.name); got.name != "" && err == nil {
			t.Errorf("%q has the address %s as a name", authority, got.name)
		}
	})
}
