// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestOneDeadTargetDoesNotStarveTheOthers: one target that does not answer takes a
// quarter of --max-dials, however many apps dial it. The others are dialled at once.
func TestOneDeadTargetDoesNotStarveTheOthers(t *testing.T) {
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t, lab.Options{Mode: mode}, "--max-dials=8", "--dial-timeout=20s")
			const many = 40
			for range many {
				r.open(t, lab.BlackHole(lab.IPv4), target.HTTPPort)
			}
			eventually(t, "the dials to the dead target to begin", func(ctx context.Context) error {
				m, err := r.SidecarMetrics(ctx)
				if active := m["proxy_client_connections_active"]; err == nil && active < many {
					err = fmt.Errorf("%v connections are active", active)
				}
				return err
			})
			for range 10 {
				echo(t, r.open(t, lab.ShootPod(lab.IPv4, 1), target.EchoPort))
			}
			// The agent gives up a dead target after 5 s. All of the above happened
			// before that.
			if failed := r.metrics(t).Sum("proxy_client_dial_failures_total"); failed != 0 {
				t.Errorf("%v dials to the dead target had ended before the others were through: they may have waited for it", failed)
			}
		})
	}
}

// TestFewFilesLimitTheConnections: a sidecar that may open only few files allows fewer
// connections, and says so. Beyond them new ones are reset, and nothing else fails.
func TestFewFilesLimitTheConnections(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct {
		mode  lab.Mode
		flags []string
		limit int // of 64 files, 16 of which are reserved
	}{{lab.GRPC, []string{"--mode=grpc"}, 48}, {lab.HTTPConnect, nil, 24}} {
		t.Run(string(mode.mode), func(t *testing.T) {
			t.Parallel()
			r := newBareRig(t, lab.Options{Mode: mode.mode})
			r.apply(t)
			command := r.ProxyClientCommand(mode.flags...)
			command.Path, command.Args = "prlimit", append([]string{"--nofile=64:64", command.Path}, command.Args...)
			sidecar, err := r.StartSidecar(labtest.Context(t, hang), command)
			if err != nil {
				t.Fatal(err)
			}
			r.sidecar = sidecar
			if log := r.log(t); !strings.Contains(log, "the limit of open files allows fewer connections than wanted") {
				t.Errorf("the log does not warn:\n%s", log)
			}

			var open []net.Conn
			for range mode.limit {
				open = append(open, r.open(t, lab.ShootPod(lab.IPv4, 1), target.EchoPort))
				echo(t, open[len(open)-1])
			}
			before := r.metrics(t)
			for range 10 {
				r.wantReset(t, lab.ShootPod(lab.IPv4, 1), target.EchoPort, hang)
			}
			after := r.metrics(t)
			for metric, labels := range map[string]string{"proxy_client_dial_failures_total": `reason="max_connections"`, "proxy_client_connections_total": `result="refused"`} {
				if grown := increases(metric, before, after); grown[labels] != 10 {
					t.Errorf("of %s grew %v, want 10 of %s", metric, grown, labels)
				}
			}
			if _, err := r.InitRedirect(labtest.Context(t, hang), "verify"); err != nil {
				t.Errorf("a full sidecar does not answer the probe of the redirect: %v", err)
			}
			if log := r.log(t); strings.Contains(log, "too many open files") {
				t.Errorf("the limit is too high for the files:\n%s", log)
			}
			for _, conn := range open {
				echo(t, conn)
				_ = conn.Close()
			}
			r.wantRoom(t)
		})
	}
}

// TestRunningOutOfFiles: if files run out in spite of that, the connection that gets none
// is reset with a reason. Open ones are not affected. When there are files again, new
// connections work.
func TestRunningOutOfFiles(t *testing.T) {
	r := newRig(t, lab.Options{Mode: lab.HTTPConnect})
	old := r.open(t, lab.ShootPod(lab.IPv4, 1), target.EchoPort)
	echo(t, old)
	before := r.metrics(t)
	// One file is for the app's side of a connection. If the sidecar closes another at
	// the same moment, there are two. Then the connection works and keeps both.
	for {
		r.leaveFiles(t, 1)
		// A reset can overtake the app's own connect.
		conn, err := r.dial(labtest.Context(t, hang), lab.ShootPod(lab.IPv4, 1), target.EchoPort)
		if err == nil {
			t.Cleanup(func() { _ = conn.Close() })
			err = hello(conn)
		}
		if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			break
		}
		if err != nil {
			t.Fatalf("a connection for which there was no file ended with %v, want a reset", err)
		}
	}
	echo(t, old)
	r.leaveFiles(t, 1000)
	r.wantRoom(t)
	echo(t, old)
	if grown := increases("proxy_client_dial_failures_total", before, r.metrics(t)); grown[`reason="max_connections"`] == 0 {
		t.Errorf("dial failures: %v, want some with reason max_connections", grown)
	}
	if up := r.metrics(t).Sum("proxy_client_server_up"); up != 1 {
		t.Errorf("the server is down (%v) for the sidecar's own lack of files", up)
	}
}

// leaveFiles lowers or raises the sidecar's limit of open files until it can open this
// many more.
func (r *rig) leaveFiles(t *testing.T, free int) {
	t.Helper()
	pid := r.sidecar.PID()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	used := map[int]bool{}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		used[fd] = true
	}
	limit := 0
	for ; free > 0 || used[limit]; limit++ {
		if !used[limit] {
			free--
		}
	}
	if _, err := r.Pod.Run(labtest.Context(t, hang), lab.Command{UID: lab.ProxyUID, Path: "prlimit", Args: []string{fmt.Sprintf("--nofile=%d:", limit), fmt.Sprintf("--pid=%d", pid)}}); err != nil {
		t.Fatal(err)
	}
}

// wantRoom waits until a new connection works.
func (r *rig) wantRoom(t *testing.T) {
	t.Helper()
	eventually(t, "a new connection to work", func(ctx context.Context) error {
		conn, err := r.dial(ctx, lab.ShootPod(lab.IPv4, 1), target.EchoPort)
		if err != nil {
			return err
		}
		defer conn.Close()
		return hello(conn)
	})
}

// open connects an app. Its first read shows whether the connection was carried.
func (r *rig) open(t *testing.T, addr netip.Addr, port int) net.Conn {
	t.Helper()
	conn, err := r.dial(labtest.Context(t, hang), addr, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// echo passes bytes to the echo target and back.
func echo(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := hello(conn); err != nil {
		t.Fatal(err)
	}
}

func hello(conn net.Conn) error {
	const word = "hello"
	if _, err := io.WriteString(conn, word); err != nil {
		return err
	}
	got := make([]byte, len(word))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != word {
		return fmt.Errorf("the target echoed %q", got)
	}
	return nil
}

// log returns what the sidecar has logged.
func (r *rig) log(t *testing.T) string {
	t.Helper()
	log, err := os.ReadFile(r.sidecar.LogPath)
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}
