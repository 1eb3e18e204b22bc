// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// checked is what a test reads of a report.
type checked struct {
	Result, Verdict string
	ExitCode        int
	Steps           []checkedStep
}

type checkedStep struct {
	Name                            string `json:"step"`
	Server, Address, Target, Result string
	Cause, Found, Next, Mode, ALPN  string
}

// check runs proxy-client check in the pod, as the sidecar's user, without any flag of the
// sidecar. It returns the report.
func (r *rig) check(t testing.TB, args ...string) checked {
	t.Helper()
	command := lab.Command{Path: r.ProxyClientCommand().Path, Args: append([]string{"check", "--output=json"}, args...), UID: lab.ProxyUID}
	result, err := r.Pod.Run(labtest.Context(t, hang), command)
	var report checked
	if failed := json.Unmarshal([]byte(result.Stdout), &report); failed != nil {
		t.Fatalf("the report is no JSON: %v: %v %s %s", failed, err, result.Stdout, result.Stderr)
	}
	if result.Code != report.ExitCode {
		t.Errorf("the exit code is %d, and the report says %d", result.Code, report.ExitCode)
	}
	return report
}

func (c checked) String() string {
	var b strings.Builder
	for _, s := range c.Steps {
		fmt.Fprintf(&b, "%-8s %-14s %s %s %s%s: %s\n", s.Result, s.Name, s.Server, s.Address, s.Target, s.Cause, s.Found)
		if s.Next != "" {
			fmt.Fprintf(&b, "         next: %s\n", s.Next)
		}
	}
	return b.String() + c.Verdict + "\n"
}

// results returns the results of all steps, by their names.
func (c checked) results() map[string]string {
	all := map[string]string{}
	for _, s := range c.Steps {
		if before, twice := all[s.Name]; twice && before != s.Result {
			all[s.Name] = before + ", " + s.Result
			continue
		}
		all[s.Name] = s.Result
	}
	return all
}

// TestCheckOfWhatWorks: the check finds a way that works in order, with what the running
// sidecar says of its configuration. It says which mode the server speaks and what the
// target is.
func TestCheckOfWhatWorks(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]lab.Options{
		"grpc":                          {},
		"http-connect":                  {Mode: lab.HTTPConnect},
		"grpc on a Unix socket":         {Transport: lab.Unix},
		"http-connect on a Unix socket": {Mode: lab.HTTPConnect, Transport: lab.Unix},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var flags []string
			if opts.Transport == lab.Unix && opts.Mode == lab.HTTPConnect {
				flags = []string{"--mode=http-connect"}
			}
			r := newRig(t, opts, flags...)
			pods := []string{
				net.JoinHostPort(lab.ShootPod(lab.IPv4, 1).String(), fmt.Sprint(target.HTTPPort)),
				net.JoinHostPort(lab.ShootPod(lab.IPv6, 1).String(), fmt.Sprint(target.HTTPPort)),
			}
			report := r.check(t, pods...)
			want := map[string]string{
				"configuration": "ok", "sidecar": "ok", "destination": "ok", "redirect": "ok", "files": "ok", "name": "ok", "connect": "ok",
				"tls": "ok", "clock": "ok", "mode": "ok", "agent": "ok", "dial": "ok", "answer": "ok", "timing": "ok",
			}
			if opts.Transport == lab.Unix {
				for _, step := range []string{"files", "name", "tls", "clock"} {
					want[step] = "skipped"
				}
			}
			if diff := cmp.Diff(want, report.results()); diff != "" || report.ExitCode != 0 || report.Result != "ok" {
				t.Errorf("the results (-want +got):\n%s\n%s", diff, report)
			}
			mode := opts.Mode
			if mode == "" {
				mode = lab.GRPC
			}
			if got := report.step(t, "mode").Mode; got != string(mode) {
				t.Errorf("the server's mode is said to be %q, want %q", got, mode)
			}
			if found := report.step(t, "answer").Found; !strings.Contains(found, "HTTP/1.0 200 OK") {
				t.Errorf("what the target is: %s", found)
			}
			// The check sends no connection of an app through the sidecar.
			metrics := r.metrics(t)
			for _, result := range []string{"relayed", "failed", "refused"} {
				if n, counted := metrics[`proxy_client_connections_total{result="`+result+`"}`]; n != 0 || !counted {
					t.Errorf("the check made %v connections of the sidecar end as %s, which is counted: %t", n, result, counted)
				}
			}
		})
	}
}

// step returns the first step with a name.
func (c checked) step(t testing.TB, name string) checkedStep {
	t.Helper()
	for _, s := range c.Steps {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("there is no step %s:\n%s", name, c)
	return checkedStep{}
}
