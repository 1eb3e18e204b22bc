// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestSessionResumption: in http-connect mode each connection has a handshake, of which
// only the first is a full one.
func TestSessionResumption(t *testing.T) {
	p := newPKI(t)
	resumed := make(chan bool, 3)
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
		resumed <- c.ConnectionState().DidResume
		write(establishedLine)(c)
		_ = c.CloseWrite()
	}))
	for i := range 3 {
		conn, err := d.dial(t)
		must(t, err)
		_ = conn.Close()
		if got := waittest.Await(t, resumed, "a handshake"); got != (i > 0) {
			t.Errorf("connection %d: session resumed is %v, want %v", i, got, i > 0)
		}
	}
}

// TestSessionsOfTwoServersBehindAName: a server resumes no session of another, and
// keeps its own.
func TestSessionsOfTwoServersBehindAName(t *testing.T) {
	p := newPKI(t)
	resumed := make(chan bool, 1)
	handle := func(c *tls.Conn) {
		resumed <- c.ConnectionState().DidResume
		write(establishedLine)(c)
		_ = c.CloseWrite()
	}
	first := listen(t)
	port := first.Addr().(*net.TCPAddr).Port
	second, err := net.Listen("tcp", net.JoinHostPort("127.0.0.2", strconv.Itoa(port)))
	must(t, err)
	server := p.serveConnectOn(t, first, tunnel.ModeHTTPConnect, handle)
	p.serveConnectOn(t, second, tunnel.ModeHTTPConnect, handle)
	server.Address = net.JoinHostPort("localhost", strconv.Itoa(port))
	d := newDialer(t, p.client(), hang, server)
	d.resolver = fixedNames{"localhost": {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}}
	must(t, d.lookUpAll(t.Context()))
	for i := range 3 {
		for _, e := range d.servers[0].known() {
			conn, derr := through(t, e, target, hang)
			if derr != nil {
				t.Fatal(derr)
			}
			if _, err := conn.Receive(); !errors.Is(err, io.EOF) {
				t.Errorf("received until %v, want EOF", err)
			}
			must(t, conn.Close())
			if got := waittest.Await(t, resumed, "a handshake"); got != (i > 0) {
				t.Errorf("round %d, %s: session resumed is %v, want %v", i, e.Address(), got, i > 0)
			}
		}
	}
}

// TestCertificatesChange: the next handshake uses files that have changed, also through
// a symbolic link. If the new pair cannot be used, the old one stays in use.
func TestCertificatesChange(t *testing.T) {
	first, second := newPKI(t), newPKI(t)
	link := t.TempDir() + "/data"
	must(t, os.Symlink(first.dir, link))
	var log strings.Builder
	c := tlsfiles.New(tunnel.TLS{
		CAFile: link + "/ca.crt", CertFile: link + "/client.crt", KeyFile: link + "/client.key",
	}, options.SettingNames(), slog.New(slog.NewTextHandler(&log, nil)), NewMetrics(prometheus.NewRegistry()).certificateInUse)

	same := func(what string, want *pki) {
		t.Helper()
		cfg, err := c.Config()
		must(t, err)
		block, _ := pem.Decode(read(t, want.file("client.crt")))
		leaf, err := x509.ParseCertificate(block.Bytes)
		must(t, err)
		if got := cfg.Certificates[0].Leaf; !got.Equal(leaf) || !cfg.RootCAs.Equal(want.pool) {
			t.Errorf("%s: the handshake would use other certificates", what)
		}
	}
	same("at first", first)
	must(t, os.Symlink(second.dir, link+".new"))
	must(t, os.Rename(link+".new", link))
	same("after the swap of the link", second)

	must(t, os.WriteFile(second.file("client.key"), read(t, first.file("client.key")), 0o600))
	// Second and size may be the same as before, but the inode is another.
	must(t, os.Chtimes(second.file("client.key"), time.Time{}, time.Now().Add(time.Minute)))
	cfg, err := c.Config()
	must(t, err)
	if len(cfg.Certificates) != 1 || !strings.Contains(log.String(), "stay in use") {
		t.Errorf("after an unusable key: %d certificates, log %q; want the old pair and a report", len(cfg.Certificates), log.String())
	}
	reported := log.Len()
	_, err = c.Config()
	must(t, err)
	if log.Len() != reported {
		t.Error("the same unusable files were reported twice")
	}
}

// TestCertificateSwapInGRPCMode: an open connection goes on over its old connection to
// the server. The next one presents the new certificate.
func TestCertificateSwapInGRPCMode(t *testing.T) {
	p := newPKI(t)
	presented := make(chan string, 2)
	d := newDialer(t, p.client(), hang, p.serveGRPC(t, tunnel.ModeGRPC, func(s client.ProxyService_ProxyServer) error {
		from, _ := peer.FromContext(s.Context())
		presented <- from.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0].SerialNumber.String()
		if err := accept(s); err != nil {
			return err
		}
		return echo(s)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, waittest.Await(t, done, "the end of Run"))
	})

	old, err := d.dial(t)
	must(t, err)
	first := waittest.Await(t, presented, "the first certificate")
	p.newClient(t)
	fresh, err := d.dial(t)
	must(t, err)
	if second := waittest.Await(t, presented, "the second certificate"); second == first {
		t.Error("the next connection presented the old certificate")
	}
	for name, conn := range map[string]tunnel.Conn{"old": old, "new": fresh} {
		must(t, conn.Send([]byte("hello")))
		if got, err := conn.Receive(); string(got) != "hello" || err != nil {
			t.Errorf("the %s connection received %q and %v after the swap, want hello", name, got, err)
		}
		must(t, conn.Close())
	}
	waittest.Eventually(t, "Reachable after the swap", d.Reachable)
}

// TestCertificatesMissing: if there is no pair that can be used, the error names the
// setting.
func TestCertificatesMissing(t *testing.T) {
	p := newPKI(t)
	must(t, os.WriteFile(p.file("ca.crt"), []byte("not PEM"), 0o600))
	c := tlsfiles.New(p.client(), options.SettingNames(), slog.New(slog.DiscardHandler), NewMetrics(prometheus.NewRegistry()).certificateInUse)
	if _, err := c.Config(); err == nil || !strings.Contains(err.Error(), "--ca-cert") {
		t.Errorf("config: %v, want an error that names --ca-cert", err)
	}
	c = tlsfiles.New(tunnel.TLS{CAFile: p.file("nothing")}, options.SettingNames(), slog.New(slog.DiscardHandler), NewMetrics(prometheus.NewRegistry()).certificateInUse)
	if _, err := c.Config(); err == nil || !strings.Contains(err.Error(), p.file("nothing")) {
		t.Errorf("config: %v, want an error that names the file", err)
	}
}

// TestExpiryMetric: the metric has the life of the certificates in use. Without a client
// certificate its series is absent, because an alert on 0 would never end.
func TestExpiryMetric(t *testing.T) {
	p := newPKI(t)
	life := func(role, file string) map[string][2]float64 {
		block, _ := pem.Decode(read(t, p.file(file)))
		c, err := x509.ParseCertificate(block.Bytes)
		must(t, err)
		return map[string][2]float64{role: {float64(c.NotBefore.Unix()), float64(c.NotAfter.Unix())}}
	}
	ca, client := life("ca", "ca.crt"), life("client", "client.crt")
	both := maps.Clone(ca)
	maps.Copy(both, client)
	for name, tc := range map[string]struct {
		files tunnel.TLS
		want  map[string][2]float64
	}{
		"with a client certificate": {p.client(), both},
		"without":                   {tunnel.TLS{CAFile: p.file("ca.crt")}, ca},
	} {
		registry := prometheus.NewRegistry()
		_, err := tlsfiles.New(tc.files, options.SettingNames(), slog.New(slog.DiscardHandler), NewMetrics(registry).certificateInUse).Config()
		must(t, err)
		if diff := cmp.Diff(tc.want, certificates(t, registry, "role")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestFirstToExpire: a server is accepted as long as one chain is valid, and a chain as
// long as all of it is.
func TestFirstToExpire(t *testing.T) {
	until := func(days int) *x509.Certificate {
		return &x509.Certificate{NotAfter: time.Unix(0, 0).AddDate(0, 0, days)}
	}
	for _, tc := range []struct {
		name   string
		chains [][]*x509.Certificate
		want   *x509.Certificate
	}{
		{"its own ends first", [][]*x509.Certificate{{until(100), until(3650)}}, until(100)},
		{"its CA's ends first", [][]*x509.Certificate{{until(400), until(300)}}, until(300)},
		{"one of two chains is valid for longer", [][]*x509.Certificate{{until(400), until(200)}, {until(400), until(3650)}}, until(400)},
		{"none was verified", nil, nil},
	} {
		got := firstToExpire(tc.chains)
		if (got == nil) != (tc.want == nil) || got != nil && !got.NotAfter.Equal(tc.want.NotAfter) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestExpiryOfTheServersCertificate: the metric has the life of the certificate that a
// real handshake has shown. Of several addresses it is the first to expire.
func TestExpiryOfTheServersCertificate(t *testing.T) {
	p := newPKI(t)
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) { write(establishedLine)(c) }))
	must(t, d.lookUpAll(t.Context()))
	s := d.servers[0]
	for _, e := range s.known() {
		if err := e.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	shown := certificates(t, d.registry, "server")
	real := s.known()[0].shown.Load()
	if real == nil {
		t.Fatal("the handshake has shown no certificate")
	}
	life := func(c *x509.Certificate) map[string][2]float64 {
		return map[string][2]float64{s.Name: {float64(c.NotBefore.Unix()), float64(c.NotAfter.Unix())}}
	}
	if diff := cmp.Diff(life(real), shown); diff != "" {
		t.Errorf("after a handshake (-want +got):\n%s", diff)
	}

	other := newEndpoint(s, netip.MustParseAddrPort("192.0.2.1:8090"))
	defer other.remove()
	known := append(slices.Clone(s.known()), other)
	s.endpoints.Store(&known)
	earlier := &x509.Certificate{NotBefore: real.NotBefore, NotAfter: real.NotAfter.Add(-time.Minute)}
	for _, tc := range []struct{ shown, want *x509.Certificate }{
		{earlier, earlier},
		{&x509.Certificate{NotBefore: real.NotBefore, NotAfter: real.NotAfter.Add(time.Hour)}, real},
	} {
		other.shown.Store(tc.shown)
		s.reportCertificate()
		if diff := cmp.Diff(life(tc.want), certificates(t, d.registry, "server")); diff != "" {
			t.Errorf("with another address, until %v (-want +got):\n%s", tc.shown.NotAfter, diff)
		}
	}
}

// certificates returns the begin and end of life of each certificate in the metrics, by
// the value of a label.
func certificates(t *testing.T, registry *prometheus.Registry, label string) map[string][2]float64 {
	t.Helper()
	families, err := registry.Gather()
	must(t, err)
	found := map[string][2]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, l := range metric.GetLabel() {
				if l.GetName() != label || l.GetValue() == "" {
					continue
				}
				life := found[l.GetValue()]
				switch family.GetName() {
				case "proxy_client_certificate_not_before_timestamp_seconds":
					life[0] = metric.GetGauge().GetValue()
				case "proxy_client_certificate_expiry_timestamp_seconds":
					life[1] = metric.GetGauge().GetValue()
				default:
					continue
				}
				found[l.GetValue()] = life
			}
		}
	}
	return found
}

// TestCertificatesThatAreNotValidNow: the error says which certificate is not valid, and
// since when or from when on. It has the clock's time, and says what to do.
func TestCertificatesThatAreNotValidNow(t *testing.T) {
	now := time.Now()
	ago := func(age time.Duration) time.Time { return now.Add(-age).Truncate(time.Second) }
	said := func(at time.Time) string { return at.UTC().Format(time.RFC3339) }
	for _, tc := range []struct {
		name               string
		ca, server, client [2]time.Time // from and until; zero if it is valid
		words              []string
	}{
		{name: "the server's has expired", server: [2]time.Time{ago(2 * time.Hour), ago(time.Hour)}, words: []string{`its certificate "CN=server" expired on ` + said(ago(time.Hour)), "the clock here says", "renew it"}},
		{name: "the server's is not valid yet", server: [2]time.Time{ago(-time.Hour), ago(-2 * time.Hour)}, words: []string{`its certificate "CN=server" is not valid before ` + said(ago(-time.Hour)), "the clock here says", "set the clock right"}},
		{name: "the client's has expired", client: [2]time.Time{ago(2 * time.Hour), ago(time.Hour)}, words: []string{"it refused the client certificate: --client-cert", "client.crt", "expired on " + said(ago(time.Hour)), "renew it"}},
		{name: "the CA has expired", ca: [2]time.Time{ago(2 * time.Hour), ago(time.Hour)}, words: []string{"--ca-cert", "ca.crt", "expired on " + said(ago(time.Hour)), "renew it"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPKI(t)
			ca := certtest.SelfSigned(t, x509.Certificate{
				Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
				NotBefore: tc.ca[0], NotAfter: tc.ca[1],
			})
			p.write(t, "ca.crt", "CERTIFICATE", ca.Cert.Raw)
			p.pool = ca.Pool()
			leaf := func(name string, valid [2]time.Time) *certtest.Pair {
				return ca.Issue(t, x509.Certificate{
					Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: valid[0], NotAfter: valid[1],
				})
			}
			p.server = leaf("server", tc.server).TLS()
			p.writePair(t, "client", leaf("client", tc.client))
			var dials atomic.Int64
			d := newDialer(t, p.client(), hang, p.serveGRPC(t, tunnel.ModeGRPC, answerWith("", &dials)))
			conn, err := d.attempt(t)
			if err == nil {
				_ = conn.Close()
				t.Fatal("the dial succeeded")
			}
			if tunnel.ReasonOf(err) != tunnel.ReasonTLS {
				t.Errorf("the reason is %s", tunnel.ReasonOf(err))
			}
			for _, word := range tc.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the dial ended with %v, which does not say %q", err, word)
				}
			}
		})
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	return b
}
