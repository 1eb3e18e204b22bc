// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// tlsFront stands in front of the upstream server's Unix socket and does TLS as a
// proxy-server does. It remembers which client certificates it was shown.
type tlsFront struct {
	listener net.Listener
	socket   string
	alpn     string // empty: the front offers no ALPN
	tasks    sync.WaitGroup
	ctx      context.Context
	stop     context.CancelFunc

	mu     sync.Mutex
	cert   tls.Certificate
	trusts *x509.CertPool
	shown  []string // names, one for each handshake
}

const frontPort = 9443

// startFront listens in the seed with a certificate of ca for [lab.ServerName].
func (r *rig) startFront(t *testing.T, mode lab.Mode, ca *lab.Authority) *tlsFront {
	t.Helper()
	listener, err := r.Seed.Listen("tcp", netip.AddrPortFrom(lab.SeedAddress(lab.IPv4), frontPort).String())
	if err != nil {
		t.Fatal(err)
	}
	f := &tlsFront{listener: listener, socket: filepath.Join(r.Dir, "frontend.sock"), alpn: "h2"}
	if mode == lab.HTTPConnect {
		f.alpn = "http/1.1"
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	f.show(t, ca, "front")
	f.trust(t, ca)
	f.tasks.Go(f.accept)
	r.OnClose(func() error {
		f.stop()
		err := listener.Close()
		f.tasks.Wait()
		return err
	})
	return f
}

// show makes the front use a new certificate of ca from now on.
func (f *tlsFront) show(t *testing.T, ca *lab.Authority, name string) {
	t.Helper()
	certFile, keyFile, err := ca.Issue(name, []netip.Addr{lab.SeedAddress(lab.IPv4)}, []string{lab.ServerName})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cert = cert
}

// trust makes the front accept clients of these authorities, and no others.
func (f *tlsFront) trust(t *testing.T, cas ...*lab.Authority) {
	t.Helper()
	pool := x509.NewCertPool()
	for _, ca := range cas {
		pool.AppendCertsFromPEM(read(t, ca.File))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trusts = pool
}

func (f *tlsFront) config(*tls.ClientHelloInfo) (*tls.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	cfg := &tls.Config{Certificates: []tls.Certificate{f.cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: f.trusts}
	if f.alpn != "" {
		cfg.NextProtos = []string{f.alpn}
	}
	return cfg, nil
}

func (f *tlsFront) accept() {
	for {
		raw, err := f.listener.Accept()
		if err != nil {
			return // closed
		}
		f.tasks.Go(func() { f.serve(raw) })
	}
}

func (f *tlsFront) serve(raw net.Conn) {
	defer raw.Close()
	conn := tls.Server(raw, &tls.Config{GetConfigForClient: f.config})
	if err := conn.HandshakeContext(f.ctx); err != nil {
		return
	}
	f.mu.Lock()
	f.shown = append(f.shown, conn.ConnectionState().PeerCertificates[0].Subject.CommonName)
	f.mu.Unlock()
	server, err := net.Dial("unix", f.socket)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(f.ctx, func() { _ = raw.Close(); _ = server.Close() })()
	var ways sync.WaitGroup
	ways.Go(func() { _, _ = io.Copy(server, conn); _ = server.(*net.UnixConn).CloseWrite() })
	ways.Go(func() { _, _ = io.Copy(conn, server); _ = conn.CloseWrite() })
	ways.Wait()
}

// count returns the number of handshakes and the name in the last client certificate.
func (f *tlsFront) count() (n int, last string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n = len(f.shown); n > 0 {
		last = f.shown[n-1]
	}
	return n, last
}

// wantShown makes a new connection and expects that it works. Its connection to the
// server must present this certificate.
func (r *rig) wantShown(t *testing.T, f *tlsFront, name string) {
	t.Helper()
	conn, err := r.dial(labtest.Context(t, hang), lab.ShootPod(lab.IPv4, 1), target.SpeakFirstPort)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != target.Banner {
		t.Errorf("a connection after certificates changed got %q, %v", got, err)
	}
	if _, last := f.count(); last != name {
		t.Errorf("the next connection showed the certificate of %s to the server, want that of %s", last, name)
	}
}

// secret returns a client's pair and the CA that it trusts, as a mounted Secret.
func (r *rig) secret(t *testing.T, issuer *lab.Authority, name string, trusts ...*lab.Authority) map[string][]byte {
	t.Helper()
	certFile, keyFile, err := issuer.Issue(name, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"tls.crt": read(t, certFile), "tls.key": read(t, keyFile), "ca.crt": nil}
	for _, ca := range trusts {
		files["ca.crt"] = append(files["ca.crt"], read(t, ca.File)...)
	}
	return files
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestCertificatesAreSwappedDuringATransferGRPC: a client certificate that is swapped as
// the kubelet does it interrupts no transfer. The next connection presents the new one to
// the server. The same holds for another CA, on both sides.
//
// Each mode has a test of its own, so that both run side by side from the start. Each
// takes minutes.
func TestCertificatesAreSwappedDuringATransferGRPC(t *testing.T) {
	testCertificateSwap(t, lab.GRPC)
}

func TestCertificatesAreSwappedDuringATransferHTTPConnect(t *testing.T) {
	testCertificateSwap(t, lab.HTTPConnect)
}

func testCertificateSwap(t *testing.T, mode lab.Mode) {
	t.Parallel()
	length := 60 * time.Second
	if testing.Short() {
		length = 5 * time.Second
	}
	r := newBareRig(t, lab.Options{Mode: mode, Transport: lab.Unix})
	r.apply(t)
	old := r.Certs.Frontend
	front := r.startFront(t, mode, old)
	volume, err := lab.NewVolume(filepath.Join(r.Dir, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(files map[string][]byte) {
		t.Helper()
		if err := volume.Write(files); err != nil {
			t.Fatal(err)
		}
	}
	write(r.secret(t, old, "first", old))
	r.start(t, fmt.Sprintf("--proxy-server=%s:%d", lab.SeedAddress(lab.IPv4), frontPort), "--server-name="+lab.ServerName,
		"--ca-cert="+volume.Path("ca.crt"), "--client-cert="+volume.Path("tls.crt"), "--client-key="+volume.Path("tls.key"))
	r.wantShown(t, front, "lab-first")

	r.targets.Hold()
	x := r.startRaw(t, lab.ShootPod(lab.IPv4, 1))
	began := time.Now()
	if err := x.conn.(net.Conn).SetDeadline(began.Add(length + hang)); err != nil {
		t.Fatal(err)
	}
	moved := make(chan error, 1)
	go func() { moved <- x.finish() }()
	live := r.startLive(t, 5)

	write(r.secret(t, old, "second", old))
	r.wantShown(t, front, "lab-second")

	// A pair whose key belongs to another certificate is reported. The last good pair
	// stays in use.
	broken := r.secret(t, old, "third", old)
	broken["tls.key"] = r.secret(t, old, "stranger", old)["tls.key"]
	write(broken)
	r.wantShown(t, front, "lab-second")
	r.wantLogged(t, map[string]int{"cannot be used": 1})

	// The CA changes: the client trusts both, the server takes the new one, then the
	// client does.
	next, err := lab.NewAuthority(filepath.Join(r.Dir, "certs"), "next-ca")
	if err != nil {
		t.Fatal(err)
	}
	write(r.secret(t, old, "fourth", old, next))
	front.trust(t, old, next)
	r.wantShown(t, front, "lab-fourth")
	front.show(t, next, "front-next")
	write(r.secret(t, next, "fifth", next))
	r.wantShown(t, front, "lab-fifth")

	select { // the length of the transfer is part of the promise
	case <-time.After(time.Until(began.Add(length))):
	case err := <-moved:
		t.Fatalf("the transfer ended after %s: %v", time.Since(began), err)
	}
	r.targets.Release()
	if err := <-moved; err != nil {
		t.Errorf("the transfer ended with %v after %s and %d bytes", err, time.Since(began), x.got.N)
	}
	t.Logf("%d MiB moved in %s while certificates changed", x.got.N>>20, time.Since(began).Round(time.Second))
	live.wantEnded(t, 0, began, nil)
	n, _ := front.count()
	t.Logf("%d handshakes", n)
}
