// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/pkg/origdst"
)

// listen listens on the proxy's port and hands every connection to serve, which has to close
// it.
func (p pod) listen(t *testing.T, f Family, serve func(*net.TCPConn)) {
	t.Helper()
	listener := p.listenOnProxyPort(t, f)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			serve(conn)
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
}

func TestVerifyTriesTheRedirect(t *testing.T) {
	for _, test := range []struct {
		name    string
		disturb func(*testing.T, pod, Family)
		want    string // in the problem; empty if verify has to pass
	}{
		{"another program on the proxy port", func(t *testing.T, p pod, f Family) {
			p.listen(t, f, func(c *net.TCPConn) {
				_, _ = io.WriteString(c, "SSH-2.0-OpenSSH\r\n")
				_ = c.Close()
			})
		}, "SSH-2.0-OpenSSH"},
		{"a sidecar with other CIDRs", func(t *testing.T, p pod, f Family) {
			p.listen(t, f, func(c *net.TCPConn) {
				_ = c.SetLinger(0)
				_ = c.Close()
			})
		}, "probe"},
		{"connections that conntrack does not see", func(t *testing.T, p pod, f Family) {
			p.iptables(t, f, BackendNFT, "-t", "raw", "-A", "OUTPUT", "-p", "tcp", "-j", "CT", "--notrack")
		}, "probe"},
		{"a firewall before us", func(t *testing.T, p pod, f Family) {
			p.iptables(t, f, BackendNFT, "-t", "mangle", "-A", "OUTPUT", "-p", "tcp", "-d", probeAddress(f).String(), "-j", "DROP")
		}, "probe"},
		{"the sidecar", func(t *testing.T, p pod, f Family) {
			p.listen(t, f, func(c *net.TCPConn) {
				dst, err := origdst.Lookup(c)
				if err != nil {
					_ = c.Close()
					return
				}
				_ = probe.Answer(c, dst)
			})
		}, ""},
		{"nothing yet", func(*testing.T, pod, Family) {}, ""},
	} {
		for _, f := range bothFamilies() {
			t.Run(test.name+"/"+string(f), func(t *testing.T) {
				t.Parallel()
				p := dualStackPod(t)
				cfg := configFor(shootCIDR(f))
				p.apply(t, cfg, BackendNFT)
				test.disturb(t, p, f)
				before := p.everything(t)
				err := p.verify(t, cfg, BackendNFT)
				if diff := cmp.Diff(before, p.everything(t)); diff != "" {
					t.Errorf("verify changed something (-before +after):\n%s", diff)
				}
				var found *VerifyError
				switch {
				case test.want == "" && err != nil:
					t.Errorf("verify fails where the redirect works: %v", err)
				case test.want != "" && (!errors.As(err, &found) || !strings.Contains(err.Error(), test.want)):
					t.Errorf("verify gave %v, want a problem that mentions %q", err, test.want)
				}
			})
		}
	}
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	p := dualStackPod(t)
	cfg := configFor(shootCIDR(IPv4))
	p.apply(t, cfg, BackendNFT)
	// A program that accepts and sends nothing makes the probe wait.
	p.listen(t, IPv4, func(c *net.TCPConn) {
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Verify(ctx, cfg, p.options(t, BackendNFT)); err == nil {
		t.Error("verify passes though it was cancelled")
	}
}

func TestThisPodsOwnAddressesAreRefused(t *testing.T) {
	p := dualStackPod(t)
	before := p.everything(t)
	for _, test := range []struct {
		shoot string
		want  string
	}{
		{"10.99.0.0/24", "10.99.0.2, this pod's own address on eth0"},
		{"fdcc:99::/64", "fdcc:99::2, this pod's own address on eth0"},
		{"10.99.0.1/32", "10.99.0.1, this pod's default gateway"},
		{"fdcc:99::1/128", "fdcc:99::1, this pod's default gateway"},
	} {
		_, err := Apply(t.Context(), configFor(test.shoot), p.options(t, BackendAuto))
		var refused *CollisionError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("shoot CIDR %s: %v, want it to name %s", test.shoot, err, test.want)
		}
	}
	if diff := cmp.Diff(before, p.everything(t)); diff != "" {
		t.Errorf("a refusal changed the pod (-before +after):\n%s", diff)
	}
	// An address of lo is no collision, and neither is one that is excluded.
	p.Run(t, "ip", "address", "add", "100.64.3.7/32", "dev", "lo")
	p.apply(t, configFor("100.64.0.0/12"), BackendAuto)
	cfg := configFor("10.99.0.0/16")
	cfg.Exclude = prefixes("10.99.0.0/24")
	p.apply(t, cfg, BackendAuto)
}

func TestNameserverOfThePodIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("search x\nnameserver 100.64.0.10\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := fakeNamespace(t, BackendAuto, nil)
	n.resolvConf = file
	target, err := configFor("100.64.0.0/12").target()
	if err != nil {
		t.Fatal(err)
	}
	servers, err := n.nameservers()
	if err != nil {
		t.Fatal(err)
	}
	err = collision(target.set, servers)
	if err == nil || !strings.Contains(err.Error(), "100.64.0.10, a nameserver of "+file) {
		t.Errorf("got %v, want the nameserver named", err)
	}
	n.resolvConf = filepath.Join(t.TempDir(), "none")
	if servers, err := n.nameservers(); err != nil || len(servers) > 0 {
		t.Errorf("a pod without resolv.conf: %v, %v", servers, err)
	}
}

func TestNamespaceThatIsNone(t *testing.T) {
	netnstest.RequireRoot(t)
	for _, path := range []string{"/run/netns/there-is-none", "/etc/hostname", "/proc/self/ns/mnt"} {
		_, err := Dump(t.Context(), Options{Netns: path})
		var refused *ConfigError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), path) {
			t.Errorf("Netns %s: %v, want a ConfigError that names it", path, err)
		}
	}
	if _, err := Dump(t.Context(), Options{Backend: "ipfw"}); err == nil || !strings.Contains(err.Error(), "ipfw") {
		t.Errorf("Backend ipfw: %v, want a ConfigError that names it", err)
	}
}
