// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestServersAndAgentsFindEachOther: several servers and agents find each other through
// the balancer. So do those that come back.
func TestServersAndAgentsFindEachOther(t *testing.T) {
	for _, transport := range []lab.Transport{lab.TCP, lab.Unix} {
		t.Run(string(transport), func(t *testing.T) {
			l, _ := labtest.New(t, lab.Options{Servers: 2, Agents: 2, Transport: transport, AgentRelay: true})
			ctx := labtest.Context(t, time.Minute)
			if err := errors.Join(l.Servers[1].Restart(ctx), l.Agents[0].Restart()); err != nil {
				t.Fatal(err)
			}
			if err := l.WaitTunnel(ctx); err != nil {
				t.Fatal(err)
			}
			if err := l.Servers[0].Freeze(); err != nil {
				t.Fatal(err)
			}
			if err := l.WaitTunnel(ctx); err != nil {
				t.Errorf("with a frozen server: %v", err)
			}
		})
	}
}

// TestFaults: each fault does what it says, and its undo ends it.
func TestFaults(t *testing.T) {
	l, _ := labtest.New(t, lab.Options{Servers: 2})
	ctx := labtest.Context(t, 2*time.Minute)
	reach := func(address string) error {
		ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		conn, err := l.Pod.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	for name, c := range map[string]struct {
		begin       func(context.Context) (lab.Undo, error)
		first, next bool // whether each server can still be reached
	}{
		"partition":        {func(ctx context.Context) (lab.Undo, error) { return l.Partition(ctx, lab.PodLink) }, false, false},
		"other partition":  {func(ctx context.Context) (lab.Undo, error) { return l.Partition(ctx, lab.ShootLink) }, true, true},
		"loss of all":      {func(ctx context.Context) (lab.Undo, error) { return l.Loss(ctx, lab.PodLink, 1) }, false, false},
		"black hole":       {l.Servers[0].BlackHole, false, true},
		"other black hole": {l.Servers[1].BlackHole, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			undo, err := c.begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []bool{c.first, c.next} {
				if err := reach(l.Servers[i].Frontend()); (err == nil) != want {
					t.Errorf("server %d reached: %v, want that %t", i, err, want)
				}
			}
			if err := errors.Join(undo(), undo()); err != nil {
				t.Fatal(err)
			}
			for _, address := range []string{l.Servers[0].Frontend(), l.Servers[1].Frontend(), l.BalancedFrontend()} {
				if err := reach(address); err != nil {
					t.Errorf("after the fault was undone: %v", err)
				}
			}
		})
	}
}

// TestSlowLinks: a transfer takes at least as long as bandwidth or delay require.
func TestSlowLinks(t *testing.T) {
	const size, least = 2 << 20, 500 * time.Millisecond
	l, _ := labtest.New(t, lab.Options{})
	ctx := labtest.Context(t, time.Minute)
	seed := lab.SeedAddress(lab.IPv4).String()
	relay, err := l.Seed.Relay(seed+":9000", "10.97.0.2:8080")
	if err != nil {
		t.Fatal(err)
	}
	fetch := func() time.Duration {
		start := time.Now()
		got := target.NewPatternWriter()
		_, err := l.Pod.Run(ctx, lab.Command{Path: "curl", Args: []string{"-sS", fmt.Sprintf("http://%s:9000/file?bytes=%d", seed, size)}, Stdout: got})
		if err != nil || got.N != size {
			t.Fatalf("%d of %d bytes came through: %v", got.N, size, err)
		}
		return time.Since(start)
	}
	undo, err := l.Bandwidth(ctx, lab.PodLink, 2<<20)
	if err != nil {
		t.Fatal(err)
	}
	if took := fetch(); took < least {
		t.Errorf("2 MiB at 2 MiB a second took %s", took)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	relay.SetDelay(least / 2)
	if took := fetch(); took < least {
		t.Errorf("a request and its answer, each delayed by %s, took %s", least/2, took)
	}
	carried := func(want int) {
		if err := lab.Poll(ctx, "the relay's connections", func(context.Context) error {
			if n := relay.Connections(); n != want {
				return fmt.Errorf("%d, want %d", n, want)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	carried(0)
	conn, err := l.Pod.DialContext(ctx, "tcp", seed+":9000")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	carried(1)
	relay.Reset()
	if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection that the relay reset ended with %v", err)
	}
}

// TestRelayPassesEndsOn: the relay keeps the two ends of a connection apart, and passes
// resets on.
func TestRelayPassesEndsOn(t *testing.T) {
	l, _ := labtest.New(t, lab.Options{})
	ctx := labtest.Context(t, time.Minute)
	const address = "127.0.0.1:9000"
	if _, err := l.Shoot.Relay(address, fmt.Sprint("127.0.0.1:", target.AfterEOFPort)); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Shoot.DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "12345"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "got 5 bytes and EOF\n" {
		t.Errorf("through the relay came %q, %v", got, err)
	}
}

// TestHosts: a process with hosts of its own knows those names, and no others, and sees
// changes.
func TestHosts(t *testing.T) {
	l, _ := labtest.New(t, lab.Options{})
	ctx := labtest.Context(t, time.Minute)
	hosts, err := l.NewHosts(map[string][]netip.Addr{"a.lab": {lab.ServerAddress(lab.IPv4, 0), lab.ServerAddress(lab.IPv4, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	run := func(path string, args ...string) string {
		out, err := l.Pod.Run(ctx, lab.Command{Path: path, Args: args, UID: lab.AppUID, Hosts: hosts})
		if err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(out.Stdout)
	}
	if got := run("getent", "ahostsv4", "a.lab"); !strings.Contains(got, "10.96.0.21") || !strings.Contains(got, "10.96.0.22") {
		t.Errorf("a.lab is %q", got)
	}
	if got, want := run("sh", "-c", "id -u; id -g; grep -c CapEff:.0000000000000000 /proc/self/status"), "20001\n20001\n1"; got != want {
		t.Errorf("uid, gid and no capabilities: %q, want %q", got, want)
	}
	if err := hosts.Set(map[string][]netip.Addr{"b.lab": {lab.ServerAddress(lab.IPv4, 2)}}); err != nil {
		t.Fatal(err)
	}
	if got := run("sh", "-c", "getent hosts b.lab; getent hosts a.lab || echo none"); got != "10.96.0.23      b.lab\nnone" {
		t.Errorf("after a change: %q", got)
	}
	own, err := os.ReadFile("/etc/hosts")
	if err != nil || strings.Contains(string(own), "b.lab") {
		t.Errorf("the machine's own hosts: %q, %v", own, err)
	}
}

// TestVolumeSwapsAsTheKubeletDoes: a new version appears at once and whole, under the
// same path.
func TestVolumeSwapsAsTheKubeletDoes(t *testing.T) {
	volume, err := lab.NewVolume(filepath.Join(t.TempDir(), "volume"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		if err := volume.Write(map[string][]byte{"a": []byte(text), "b": []byte(text)}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b"} {
			got, err := os.ReadFile(volume.Path(name))
			if diff := cmp.Diff(text, string(got)); diff != "" || err != nil {
				t.Errorf("%s: %s%v", name, diff, err)
			}
			if link, err := os.Readlink(volume.Path(name)); link != "..data/"+name {
				t.Errorf("%s is a link to %q, %v", name, link, err)
			}
		}
	}
}
