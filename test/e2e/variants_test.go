// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// variants are the ways from the sidecar to the upstream server, with the time for which
// Prometheus scrapes on each. The auto mode finds one of the same ways.
var variants = []struct {
	name   string
	opts   lab.Options
	flags  []string
	scrape time.Duration
}{
	{"grpc over mTLS", lab.Options{Mode: lab.GRPC}, []string{"--mode=grpc"}, time.Minute},
	{"http-connect over mTLS", lab.Options{Mode: lab.HTTPConnect}, []string{"--mode=http-connect"}, time.Minute},
	{"grpc over a Unix socket", lab.Options{Mode: lab.GRPC, Transport: lab.Unix}, []string{"--mode=grpc"}, time.Minute},
	{"auto meets grpc", lab.Options{Mode: lab.GRPC}, nil, 20 * time.Second},
	{"auto meets http-connect", lab.Options{Mode: lab.HTTPConnect}, nil, 20 * time.Second},
}

// TestUnmodifiedClientsReachTheShoot: whatever the way to the server, unmodified clients
// get every byte, in order, and leave nothing behind. The servers behave in many ways.
// Prometheus scrapes 50 targets all the time without a gap. Clients use the whole
// machine, so only one way's clients run at a time. The other ways wait for Prometheus
// meanwhile.
func TestUnmodifiedClientsReachTheShoot(t *testing.T) {
	var working sync.Mutex // held by the way whose clients are running
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			done := sync.OnceFunc(working.Unlock)
			working.Lock()
			defer done()
			r := newRig(t, v.opts, append(v.flags, "--half-close-timeout=5s")...)
			hostKey, err := r.StartSSHD(labtest.Context(t, hang))
			if err != nil {
				t.Fatal(err)
			}
			r.warmUp(t)
			before := r.quiet(t)
			scraping := r.startScraping(t, v.scrape)
			t.Run("curl reaches pods, services and nodes", r.testKinds)
			t.Run("a half-closing client gets its whole answer", r.testHalfClose)
			t.Run("half-closing clients in a crowd of closing ones", r.testHalfCloseInACrowd)
			t.Run("sshd speaks first", func(t *testing.T) { r.testSSHD(t, hostKey) })
			t.Run("a server that speaks first and closes at once", r.testSpeakFirst)
			t.Run("2,000 connections, 64 at a time", r.testManyConnections)
			t.Run("curl uploads 256 MiB", r.testUpload)
			t.Run("curl downloads 1 GiB", r.testDownload)
			done()
			t.Run("Prometheus scrapes 50 targets all the while", scraping.test)
			t.Run("everything is back where it started", func(t *testing.T) { r.testBackWhereItStarted(t, before) })
			after := r.metrics(t)
			if failed := increases("proxy_client_dial_failures_total", nil, after); len(failed) != 0 {
				t.Errorf("dials failed: %v", failed)
			}
			closed := increases("proxy_client_close_total", nil, after)
			t.Logf("closes: %v", closed)
			// A client that closes with bytes unread resets. Those of sshd's test do so.
			for _, ordinary := range []string{"app_closed", "target_closed", "app_reset"} {
				delete(closed, fmt.Sprintf("reason=%q", ordinary))
			}
			if len(closed) != 0 {
				t.Errorf("connections of which both ends behaved ended otherwise: %v", closed)
			}
		})
	}
}

func (r *rig) testKinds(t *testing.T) {
	for _, f := range r.opts.ShootFamilies.Each() {
		for _, addr := range kinds(f) {
			result, err := r.app(labtest.Context(t, hang), nil, nil, "curl", "-sS", lab.URL(addr, target.HTTPPort, "/"))
			if err != nil {
				t.Errorf("%s: %v", addr, err)
			} else if !strings.HasPrefix(result.Stdout, "hello from the shoot") {
				t.Errorf("%s answered %q", addr, result.Stdout)
			}
		}
	}
}

func (r *rig) testHalfClose(t *testing.T) {
	const size = 8 << 20
	for _, f := range r.opts.ShootFamilies.Each() {
		hash := sha256.New()
		request := strings.NewReader(fmt.Sprintf("bytes %d\n", size))
		_, err := r.app(labtest.Context(t, hang), request, hash, "nc", "-N", lab.ShootPod(f, 2).String(), fmt.Sprint(target.HalfClosePort))
		if err != nil {
			t.Errorf("%s: nc -N: %v", f, err)
		}
		if got, want := hex.EncodeToString(hash.Sum(nil)), target.PatternHash(size); got != want {
			t.Errorf("%s: nc -N got an answer with SHA-256 %s, want %s: it is not whole", f, got, want)
		}
	}
}

// testHalfCloseInACrowd mixes clients that half-close with clients that close, on the
// same few destinations. conntrack has to give some of them another source port. No
// client may be taken for another.
func (r *rig) testHalfCloseInACrowd(t *testing.T) {
	const size = 256 << 10
	r.each(t, 600, 64, func(ctx context.Context, i int) error {
		conn, err := r.dial(ctx, lab.ShootPod(lab.DualStack.Each()[i%2], 1+i%4), target.HalfClosePort)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "bytes %d\n", size); err != nil {
			return err
		}
		answer := target.NewPatternWriter()
		if i%3 == 0 {
			// The client has read enough of the answer, and closes with no byte unread.
			_, err := io.CopyN(answer, conn, size/2)
			return err
		}
		if err := conn.CloseWrite(); err != nil {
			return err
		}
		if _, err := io.Copy(answer, conn); err != nil || answer.N != size {
			return fmt.Errorf("half-closed, and got %d of %d bytes of the answer, then %v", answer.N, size, err)
		}
		return nil
	})
}

func (r *rig) testSSHD(t *testing.T, hostKey string) {
	for _, f := range r.opts.ShootFamilies.Each() {
		node := lab.ShootNode(f)
		scan, err := r.app(labtest.Context(t, hang), nil, nil, "ssh-keyscan", "-t", "ed25519", node.String())
		if err != nil {
			t.Errorf("ssh-keyscan %s: %v", node, err)
		} else if !strings.Contains(scan.Stdout, hostKey) {
			t.Errorf("ssh-keyscan %s got %q, want the key %q", node, scan.Stdout, hostKey)
		}
		for range 25 {
			conn, err := r.dial(labtest.Context(t, hang), node, lab.SSHPort)
			if err != nil {
				t.Fatal(err)
			}
			banner := make([]byte, len("SSH-2.0-"))
			if _, err := io.ReadFull(conn, banner); err != nil || string(banner) != "SSH-2.0-" {
				t.Errorf("sshd at %s begins with %q, %v", node, banner, err)
			}
			_ = conn.Close()
		}
	}
}

func (r *rig) testSpeakFirst(t *testing.T) {
	r.each(t, 1000, 8, func(ctx context.Context, i int) error {
		f := lab.DualStack.Each()[i%2]
		conn, err := r.dial(ctx, lab.ShootPod(f, 1+i%lab.PodAddresses), target.SpeakFirstPort)
		if err != nil {
			return err
		}
		defer conn.Close()
		got, err := io.ReadAll(conn)
		if err != nil || string(got) != target.Banner {
			return fmt.Errorf("got %q and %v, want the whole banner and EOF", got, err)
		}
		return nil
	})
}

func (r *rig) testManyConnections(t *testing.T) {
	r.each(t, 2000, 64, func(ctx context.Context, i int) error {
		f := lab.DualStack.Each()[i%2]
		conn, err := r.dial(ctx, lab.ShootPod(f, 1+i%lab.PodAddresses), target.EchoPort)
		if err != nil {
			return err
		}
		defer conn.Close()
		sent := bytes.Repeat(fmt.Appendf(nil, "connection %d;", i), 100)
		if _, err := conn.Write(sent); err != nil {
			return err
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(conn, got); err != nil {
			return err
		}
		if !bytes.Equal(got, sent) {
			return errors.New("the echo is not what was sent")
		}
		return nil
	})
}

// each calls fn for 0 to n-1, at most atATime at once, and reports up to ten of the
// errors.
func (r *rig) each(t *testing.T, n, atATime int, fn func(ctx context.Context, i int) error) {
	t.Helper()
	ctx := labtest.Context(t, 3*time.Minute)
	var (
		wait   sync.WaitGroup
		mu     sync.Mutex
		failed []error
	)
	next := make(chan int)
	for range atATime {
		wait.Go(func() {
			for i := range next {
				one, cancel := context.WithTimeout(ctx, hang)
				if err := fn(one, i); err != nil {
					mu.Lock()
					failed = append(failed, fmt.Errorf("connection %d: %w", i, err))
					mu.Unlock()
				}
				cancel()
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
	if len(failed) != 0 {
		t.Errorf("%d of %d connections failed, among them: %v", len(failed), n, errors.Join(failed[:min(10, len(failed))]...))
	}
}

func (r *rig) testUpload(t *testing.T) {
	size := scale(256 << 20)
	result, err := r.app(labtest.Context(t, 3*time.Minute), io.LimitReader(target.Pattern(), size), nil,
		"curl", "-sS", "-T", "-", lab.URL(lab.ShootService(lab.IPv4), target.HTTPPort, "/upload"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%d %s\n", size, target.PatternHash(size)); result.Stdout != want {
		t.Errorf("the target got %q, want %q", result.Stdout, want)
	}
}

func (r *rig) testDownload(t *testing.T) {
	size := scale(1 << 30)
	hash := sha256.New()
	started := time.Now()
	_, err := r.app(labtest.Context(t, 5*time.Minute), nil, hash,
		"curl", "-sS", lab.URL(lab.ShootPod(lab.IPv6, 3), target.HTTPPort, fmt.Sprintf("/file?bytes=%d", size)))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f MiB/s", float64(size)/(1<<20)/time.Since(started).Seconds())
	if got, want := hex.EncodeToString(hash.Sum(nil)), target.PatternHash(size); got != want {
		t.Errorf("the download's SHA-256 is %s, want %s", got, want)
	}
}
