// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/cure"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// adminAddress is where the sidecar's status page is, in the pod.
var adminAddress = fmt.Sprint("127.0.0.1:", defaults.AdminPort)

// askAdmin sends a request to the status page, from within the pod.
func (r *rig) askAdmin(ctx context.Context, method, path string, header map[string]string) (code int, body string, err error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return r.Pod.DialContext(ctx, network, address)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+adminAddress+path, nil)
	if err != nil {
		return 0, "", err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(content), err
}

// document returns a document of the status page.
func document[T any](ctx context.Context, r *rig, path string) (content T, err error) {
	code, body, err := r.askAdmin(ctx, http.MethodGet, path, nil)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("GET %s: %d %s", path, code, body)
	}
	if err != nil {
		return content, err
	}
	return content, json.Unmarshal([]byte(body), &content)
}

// TestTheStatusPageShowsWhatHappensNow: connections with their bytes, a failure with its
// cure, a server that is gone with the cause, the redirect and the certificates. A drain by
// the page ends the sidecar as SIGTERM does.
func TestTheStatusPageShowsWhatHappensNow(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		opts := pair
		opts.Mode = mode
		r := newRig(t, opts)
		pod := lab.ShootPod(lab.IPv4, 1)
		conn := r.open(t, pod, target.EchoPort)
		echo(t, conn)
		r.wantReset(t, pod, target.ClosedPort, hang)
		r.wantReset(t, pod, target.ClosedPort, hang)

		to := netip.AddrPortFrom(pod, target.EchoPort).String()
		eventually(t, "the connection with its bytes", func(ctx context.Context) error {
			all, err := document[status.Connections](ctx, r, "/connections")
			i := slices.IndexFunc(all.Connections, func(c status.Connection) bool { return c.Destination == to })
			if err != nil || i < 0 {
				return fmt.Errorf("%v, %+v", err, all)
			}
			c := all.Connections[i]
			if c.State != status.ConnectionOpen || c.Source != conn.LocalAddr().String() || c.SentBytes != 5 || c.ReceivedBytes != 5 || c.Server == "" || (c.DialID == "") != (mode != lab.GRPC) {
				return fmt.Errorf("the connection is %+v", c)
			}
			return nil
		})
		eventually(t, "the failure with its cure", func(ctx context.Context) error {
			failures, err := document[status.Failures](ctx, r, "/failures")
			if err != nil || len(failures.Failures) != 1 {
				return fmt.Errorf("%v, %+v", err, failures)
			}
			f := failures.Failures[0]
			if f.Reason != "refused" || f.Times != 2 || f.Cure != cure.NotMade("refused") || f.Destination != netip.AddrPortFrom(pod, target.ClosedPort).String() || !strings.Contains(f.Error, "connection refused") {
				return fmt.Errorf("the failure is %+v", f)
			}
			return nil
		})
		r.wantGoodState(t)

		r.Servers[0].Kill()
		eventually(t, "the dead server with the cause", func(ctx context.Context) error {
			servers, err := document[status.Servers](ctx, r, "/servers")
			if err != nil || len(servers.Servers) != len(r.Servers) {
				return fmt.Errorf("%v, %+v", err, servers)
			}
			dead, alive := servers.Servers[0], servers.Servers[1]
			if dead.Up || dead.Reason != "server_unreachable" || !strings.Contains(dead.Cause, "connection refused") || dead.Next != cure.NotMade(dead.Reason) ||
				len(dead.Endpoints) != 1 || dead.Endpoints[0].State != status.EndpointUnreachable || dead.Endpoints[0].Error == "" {
				return fmt.Errorf("the dead server is %+v", dead)
			}
			if !alive.Up || alive.Cause != "" || alive.Speaks != string(mode) || alive.Endpoints[0].State != status.EndpointGood {
				return fmt.Errorf("the other server is %+v", alive)
			}
			return nil
		})
		_ = conn.Close()
		r.wantDrainByPage(t)
	})
}

// wantGoodState requires that redirect and certificates are fine and complete.
func (r *rig) wantGoodState(t *testing.T) {
	t.Helper()
	eventually(t, "the redirect and the certificates", func(ctx context.Context) error {
		state, err := document[status.State](ctx, r, "/state")
		if err != nil {
			return err
		}
		families, roles := map[string]bool{}, map[string]int{}
		for _, is := range state.Redirect {
			if !is.OK {
				return fmt.Errorf("the redirect is said not to work: %+v", is)
			}
			families[is.Family] = families[is.Family] || is.CIDR == ""
		}
		for _, c := range state.Certificates {
			if c.Problem != "" || c.NotAfter.IsZero() {
				return fmt.Errorf("the certificate is %+v", c)
			}
			roles[c.Role]++
		}
		if !families["IPv4"] || !families["IPv6"] || roles[status.RoleCA] != 1 || roles[status.RoleClient] != 1 || roles[status.RoleServer] != len(r.Servers) {
			return fmt.Errorf("redirect %+v, certificates %+v", state.Redirect, state.Certificates)
		}
		return nil
	})
}

// wantDrainByPage drains as the button of the page does, and waits for the end.
func (r *rig) wantDrainByPage(t *testing.T) {
	t.Helper()
	ctx := labtest.Context(t, hang)
	if code, _, err := r.askAdmin(ctx, http.MethodPost, "/drain", map[string]string{"Content-Type": "application/json", "X-Drain-Token": "guessed"}); err != nil || code != http.StatusForbidden {
		t.Fatalf("a drain with a guessed token: %d, %v", code, err)
	}
	_, page, err := r.askAdmin(ctx, http.MethodGet, "/", nil)
	token := regexp.MustCompile(`name="drain-token" content="(\w+)"`).FindStringSubmatch(page)
	if err != nil || token == nil {
		t.Fatalf("the page has no token: %v\n%s", err, page)
	}
	if code, body, err := r.askAdmin(ctx, http.MethodPost, "/drain", map[string]string{"Content-Type": "application/json", "X-Drain-Token": token[1]}); err != nil || code != http.StatusAccepted {
		t.Fatalf("the drain: %d %s, %v", code, body, err)
	}
	if code, err := r.sidecar.Wait(ctx); err != nil || code != 0 {
		t.Errorf("a sidecar that has drained ends with code 0, got %d, %v", code, err)
	}
	if log := r.log(t); !strings.Contains(log, "the status page was asked to drain") {
		t.Errorf("the log does not say why it ended:\n%s", log)
	}
}

// TestTheDialIDJoinsTheLogs: in gRPC mode, sidecar, proxy-server and agent log the same
// ids for a connection. Over HTTP CONNECT the sidecar has none, and the destination joins
// its log with the server's.
func TestTheDialIDJoinsTheLogs(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newRig(t, lab.Options{Mode: mode, ServerFlags: []string{"--v=3"}, AgentFlags: []string{"--v=3"}})
		for i, to := range []struct {
			port    int
			message string
		}{{target.EchoPort, "connection closed"}, {target.ClosedPort, "connection not made"}} {
			destination := netip.AddrPortFrom(lab.ShootPod(lab.IPv4, 1+i), uint16(to.port))
			if to.port == target.EchoPort {
				conn := r.open(t, destination.Addr(), to.port)
				echo(t, conn)
				_ = conn.Close()
			} else {
				r.wantReset(t, destination.Addr(), to.port, hang)
			}
			dial, connection := r.idsOf(t, to.message, destination)
			if mode == lab.HTTPConnect {
				if dial != "" || connection != "" {
					t.Errorf("%s: the sidecar says it knows the ids %q and %q", to.message, dial, connection)
				}
				wantInLog(t, r.Servers[0].Process, `host="`+destination.String()+`"`)
				continue
			}
			wantInLog(t, r.Servers[0].Process, "dialID="+dial, `dialAddress="`+destination.String()+`"`)
			wantInLog(t, r.Agent, "dialID="+dial, `dialAddress="`+destination.String()+`"`)
			if to.port == target.EchoPort {
				wantInLog(t, r.Agent, "dialID="+dial, "connectionID="+connection)
				wantInLog(t, r.Servers[0].Process, "connectionID="+connection)
			}
		}
	})
}

// idsOf returns the ids in the sidecar's log line about a destination.
func (r *rig) idsOf(t *testing.T, message string, destination netip.AddrPort) (dial, connection string) {
	t.Helper()
	eventually(t, "the sidecar's line", func(context.Context) error {
		for _, line := range r.logLines(t) {
			var is struct {
				Message     string `json:"msg"`
				Destination string `json:"destination"`
				Dial        string `json:"dial_id"`
				Connection  string `json:"connection_id"`
			}
			if err := json.Unmarshal([]byte(line), &is); err != nil {
				return err
			}
			if is.Message == message && is.Destination == destination.String() {
				dial, connection = is.Dial, is.Connection
				return nil
			}
		}
		return fmt.Errorf("no line %q about %s", message, destination)
	})
	return dial, connection
}

// wantInLog waits until a line of the process has all of the words.
func wantInLog(t *testing.T, of *lab.Process, words ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("a log line with %q", words), func(context.Context) error {
		for line := range strings.Lines(of.Log()) {
			fields := strings.Fields(line)
			if !slices.ContainsFunc(words, func(word string) bool { return !slices.Contains(fields, word) }) {
				return nil
			}
		}
		return fmt.Errorf("it has none:\n%s", of.Log())
	})
}
