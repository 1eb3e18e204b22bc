// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// pipes is a listener whose connections are pipes, for tests in which time is not real.
type pipes struct {
	net.Listener // for its address
	accepted     chan net.Conn
	closed       chan struct{}
	close        func()
}

func newPipes(real net.Listener) *pipes {
	p := &pipes{Listener: real, accepted: make(chan net.Conn), closed: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	return p
}

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.close()
	return p.Listener.Close()
}

// TestCertificatesExpire: when a client's certificate expires, or the CA that has signed it,
// its streams are reset and its connection ends, without a change of any file. The client
// does not have to read for that.
func TestCertificatesExpire(t *testing.T) {
	t.Parallel()
	const life = 10 * time.Second // less than what a PING is sent after
	for name, tt := range map[string]struct {
		leaf, ca time.Duration
		cause    string
	}{
		"certificate": {life, time.Hour, "the client's certificate has expired: connect again with a new one"},
		"CA":          {time.Hour, life, "the CA of the client's certificate has expired: connect again with one of another CA"},
	} {
		for _, reads := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, reads=%t", name, reads), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { testExpiry(t, tt.leaf, tt.ca, life, tt.cause, reads) })
			})
		}
	}
}

func testExpiry(t *testing.T, leaf, caLife, life time.Duration, cause string, reads bool) {
	began := time.Now()
	ca := certtest.SelfSigned(t, x509.Certificate{
		Subject: pkix.Name{CommonName: "clients' CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: began, NotAfter: began.Add(caLife),
	})
	pair := ca.Issue(t, x509.Certificate{
		Subject: pkix.Name{CommonName: "app"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore: began, NotAfter: began.Add(leaf),
	})
	var listener *pipes
	e := newExit(t, allowLoopback, func(c *Config) {
		listener = newPipes(c.Listener)
		c.Listener, c.DialTimeout = listener, time.Hour
	})
	current := *e.clientCA.Load()
	current.Clients = ca.Pool()
	e.clientCA.Store(&current)
	near, far := net.Pipe()
	listener.accepted <- far
	conn := tls.Client(near, e.clientTLS(pair))
	framer := http2.NewFramer(conn, conn)
	go func() {
		_, _ = io.WriteString(conn, http2.ClientPreface)
		_ = framer.WriteSettings()
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: connectBlock("silent.test:1"), EndHeaders: true})
		if reads {
			_, _ = io.Copy(io.Discard, conn)
		}
	}()
	defer near.Close()
	time.Sleep(life - time.Nanosecond)
	synctest.Wait()
	if got := e.metric(t, "proxy_exit_streams_active"); got != 1 {
		t.Fatalf("%v streams before the end, want 1", got)
	}
	time.Sleep(time.Second)
	synctest.Wait()
	if streams, connections := e.metric(t, "proxy_exit_streams_active"), e.metric(t, "proxy_exit_connections_active"); streams != 0 || connections != 0 {
		t.Errorf("%v streams and %v connections are open a second after the end", streams, connections)
	}
	if got := e.metric(t, "proxy_exit_close_total", "policy_changed"); got != 1 {
		t.Errorf("%v streams ended for it, want 1", got)
	}
	if lines := e.log.Lines(t, "a client has no rights any more"); len(lines) != 1 || lines[0]["error"] != cause {
		t.Errorf("the log has %v", lines)
	}
}

// TestTheNextLook: the clock is looked at when the certificate has expired, and before that
// from time to time, also if it has no end (RFC 5280 4.1.2.5).
func TestTheNextLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for _, tt := range []struct {
			expires time.Time
			want    time.Duration
		}{
			{time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC), expiryLook + time.Millisecond},
			{now.Add(time.Hour), expiryLook + time.Millisecond},
			{now.Add(time.Second), time.Second + time.Millisecond},
			{now.Add(-time.Second), -time.Second + time.Millisecond},
		} {
			if got := untilExpiry(tt.expires); got != tt.want {
				t.Errorf("%s at %s: the next look is after %s, want %s", tt.expires, now, got, tt.want)
			}
		}
	})
}

// TestExpiryIsLookedAtAgain: there is a next look also after the certificate has expired. The
// clock may be set back before that has an effect.
func TestExpiryIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	for _, left := range []time.Duration{-time.Hour, time.Hour} {
		c := &client{expires: time.Now().Add(left)}
		c.expiry = time.AfterFunc(0, func() {})
		c.expiry.Stop()
		if c.hasExpired() != (left < 0) {
			t.Errorf("a certificate that ends in %s: its end was not seen", left)
		}
		if !c.expiry.Stop() {
			t.Errorf("a certificate that ends in %s: there is no next look", left)
		}
	}
}

// TestExpiryResetsTheTarget: the certificate's end resets both sides of a stream that stands,
// and a new certificate works.
func TestExpiryResetsTheTarget(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	target := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		_, err := io.Copy(conn, conn)
		ended <- err
	})
	e := newExit(t, allowLoopback, nil)
	for life := 2 * time.Second; ; life *= 2 { // a slow machine needs a longer one
		end := time.Now().Add(life).Truncate(time.Second) // as a certificate has it
		pair := e.ca.Issue(t, x509.Certificate{
			Subject: pkix.Name{CommonName: "app"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotAfter: end,
		})
		u, err := e.tryOpenWith(t, pair, target)
		if err != nil || u.StatusCode != 200 {
			if time.Now().Before(end) {
				t.Fatalf("CONNECT: %v", err)
			}
			continue
		}
		defer u.close()
		if _, err := u.Body.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) || time.Now().Before(end) {
			t.Errorf("the client sees %v, want a reset when its certificate ends", err)
		}
		break
	}
	if err := waittest.Await(t, ended, "the end of the target"); err == nil {
		t.Error("the target sees a clean end, want a reset")
	}
	open(t, e.connect(t, "app"), target).echo(t, "again")
}

// tryOpenWith opens a stream on a connection of a client with a certificate.
func (e *testExit) tryOpenWith(t *testing.T, pair *certtest.Pair, target string) (*tunnel, error) {
	conn, err := tls.Dial("tcp", e.address, e.clientTLS(pair))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	client, err := (&http2.Transport{}).NewClientConn(conn)
	if err != nil {
		return nil, err
	}
	return tryOpen(client, target)
}
