// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// startNameserver answers for one address of [lab.ServerName] in the pod. The function
// answers says which types of question get an answer.
func (r *rig) startNameserver(t *testing.T, at string, answers func(dnsmessage.Type) bool) {
	t.Helper()
	r.serveUDP(t, r.Pod, owner{}, at+":53", func(question []byte) []byte {
		var m dnsmessage.Message
		if m.Unpack(question) != nil || len(m.Questions) != 1 || !answers(m.Questions[0].Type) {
			return nil
		}
		q := m.Questions[0]
		m.Response, m.Additionals = true, nil
		if q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: lab.SeedAddress(lab.IPv4).As4()},
			}}
		}
		answer, err := m.Pack()
		if err != nil {
			t.Error(err)
		}
		return answer
	})
}

// TestANameserverThatSwallows: a nameserver swallows all questions, or those for one
// family. A name is resolved all the same, and the sidecar is alive meanwhile.
func TestANameserverThatSwallows(t *testing.T) {
	t.Parallel()
	var alive atomic.Bool // the sidecar is alive before any nameserver answers
	all := func(dnsmessage.Type) bool { return alive.Load() }
	ipv4 := func(q dnsmessage.Type) bool { return alive.Load() && q != dnsmessage.TypeAAAA }
	for _, c := range []struct {
		name          string
		first, second func(dnsmessage.Type) bool
	}{
		{"the first", func(dnsmessage.Type) bool { return false }, all},
		{"every question for IPv6", ipv4, ipv4},
	} {
		t.Run(c.name, func(t *testing.T) {
			alive.Store(false)
			r := newBareRig(t, lab.Options{})
			r.startNameserver(t, "127.0.0.2", c.first)
			r.startNameserver(t, "127.0.0.3", c.second)
			hosts, err := r.NewHosts(map[string][]netip.Addr{})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(r.Dir, "resolv.conf"), []byte("nameserver 127.0.0.2\nnameserver 127.0.0.3\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			r.apply(t)
			command := r.ProxyClientCommand("--proxy-server=" + lab.ServerName + ":8090")
			command.Hosts = hosts
			if r.sidecar, err = r.Pod.Start("proxy-client", command); err != nil {
				t.Fatal(err)
			}
			eventually(t, "/livez", func(ctx context.Context) error { return r.wantStatus(ctx, "/livez", http.StatusOK) })
			alive.Store(true)
			eventually(t, "/readyz", func(ctx context.Context) error { return r.wantStatus(ctx, "/readyz", http.StatusOK) })
			if _, err := r.app(labtest.Context(t, hang), nil, nil, "curl", "-sS", lab.URL(lab.ShootPod(lab.IPv4, 1), target.HTTPPort, "/")); err != nil {
				t.Error(err)
			}
		})
	}
}
