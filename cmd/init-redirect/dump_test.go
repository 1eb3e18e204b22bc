// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/pkg/redirect"
)

// appliedPod returns a pod with our rules, and a listener in the place of proxy-client.
func appliedPod(t *testing.T) (pod *netnstest.NS, proxy net.Listener) {
	t.Helper()
	netnstest.RequireRoot(t)
	pod, router := netnstest.New(t), netnstest.New(t)
	netnstest.Connect(t, pod, router, netnstest.IPv4)
	if o := start(t, nil, "--netns="+pod.Path(), "--shoot-pod-cidr=100.64.0.0/12"); o.code != exitDone {
		t.Fatalf("apply: %s", o.stderr)
	}
	var err error
	pod.Do(t, func() { proxy, err = net.Listen("tcp", "127.0.0.1:14001") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	return pod, proxy
}

// TestADumpCannotChangeTheTerminal: any program in the pod with NET_ADMIN can write a rule, also
// between ours.
func TestADumpCannotChangeTheTerminal(t *testing.T) {
	pod, _ := appliedPod(t)
	pod.Run(t, "iptables-nft", "-t", "nat", "-A", "PROXY_CLIENT_OUTPUT", "-m", "comment", "--comment", "\x1b[2J\u009b2J", "-j", "RETURN")
	for _, args := range [][]string{nil, {"--explain"}, {"--to=100.64.3.7:9100"}} {
		o := start(t, nil, append([]string{"dump", "--netns=" + pod.Path()}, args...)...)
		if !strings.Contains(o.stdout, "PROXY_CLIENT_OUTPUT") {
			t.Fatalf("%q shows no rules: %s%s", args, o.stdout, o.stderr)
		}
		if strings.ContainsAny(o.stdout+o.stderr, "\x1b\u009b") {
			t.Errorf("%q: the output has control characters: %q", args, o.stdout+o.stderr)
		}
	}
}

// TestDumpExplainsAndFollows: people and programs read the same, and in the words of this
// command. The listener is not of the sidecar's user, which --explain says.
func TestDumpExplainsAndFollows(t *testing.T) {
	pod, _ := appliedPod(t)
	args := []string{"dump", "--netns=" + pod.Path(), "--explain", "--to=100.64.3.7:9100", "--uid=1000"}
	text := start(t, nil, args...)
	for _, want := range []string{
		"WRONG: TCP to 100.64.0.0/12 is redirected to 127.0.0.1:14001, where a program of uid 0 takes it, and not the sidecar (uid 14001).\n  what to do: look which program listens there",
		"\nOUR RULES\n",
		"TCP connection of an app with uid 1000 and gid 1000 to 100.64.3.7:9100\nIt is redirected to 127.0.0.1:14001",
		"    yes 5. -d 100.64.0.0/12 -p tcp -j PROXY_CLIENT_REDIRECT\n           goes to chain PROXY_CLIENT_REDIRECT\n",
		"    no  3. -m owner --uid-owner 14001 -j RETURN\n           it is of uid 1000\n",
	} {
		if !strings.Contains(text.stdout, want) {
			t.Errorf("%q does not say %q:\n%s%s", args, want, text.stdout, text.stderr)
		}
	}
	var dumped struct {
		Rules       []redirect.RuleReport
		Explanation *redirect.Explanation
		Path        *redirect.Path
	}
	o := start(t, nil, append(args, "--output=json")...)
	if err := json.Unmarshal([]byte(o.stdout), &dumped); err != nil {
		t.Fatalf("%v: %s%s", err, o.stdout, o.stderr)
	}
	if len(dumped.Rules) == 0 || dumped.Explanation == nil || dumped.Explanation.Right || dumped.Path == nil || !dumped.Path.Outcomes[0].Sidecar {
		t.Errorf("the JSON has %+v", dumped)
	}
}

// TestDumpRefusesASourceThatIsNot: only the pod's network tells that.
func TestDumpRefusesASourceThatIsNot(t *testing.T) {
	pod, _ := appliedPod(t)
	for from, want := range map[string]string{"eth7": "is no device of this pod", "10.99.0.1": ""} {
		o := start(t, nil, "dump", "--netns="+pod.Path(), "--to=10.99.0.2:80", "--from="+from)
		if want == "" && o.code != exitDone {
			t.Errorf("--from=%s: %s", from, o.stderr)
		}
		if want != "" {
			o.refused(t, []string{"--from", from, want})
		}
	}
}

// TestWatchShowsRates: a new connection is in an output, with a rate of the rule that
// redirected it. The end of the context ends the program without a failure.
func TestWatchShowsRates(t *testing.T) {
	pod, _ := appliedPod(t)
	for _, output := range []string{"table", "json"} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		ctx, interrupt := context.WithCancel(t.Context())
		ended := make(chan int, 1)
		go func() {
			args := []string{"dump", "--netns=" + pod.Path(), "--watch", "--interval=100ms", "--output=" + output}
			ended <- run(ctx, environment{args, nil, write, io.Discard, "", "v1.2.3"})
			_ = write.Close()
		}()
		lines := bufio.NewScanner(read)
		lines.Buffer(nil, 1<<20)
		lines.Scan() // the first output: from now on connections are new
		var conn net.Conn
		pod.Do(t, func() { conn, err = net.Dial("tcp", "100.64.3.7:9100") })
		if err != nil {
			t.Fatal(err)
		}
		wantInWatch(t, lines, output)
		interrupt()
		for lines.Scan() { // until it has ended
		}
		if code := <-ended; code != exitDone {
			t.Errorf("--output=%s: interrupted, it ends with exit code %d", output, code)
		}
		_, _ = conn.Close(), read.Close()
	}
}

// wantInWatch reads until an output has the new connection and the rate of its rule.
func wantInWatch(t *testing.T, lines *bufio.Scanner, output string) {
	t.Helper()
	if output == "json" {
		for lines.Scan() {
			var r rates
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				t.Fatalf("%v in %s", err, lines.Bytes())
			}
			for _, l := range r.Rules {
				if l.Chain == redirect.ChainRedirect && l.PacketsPerSecond > 0 && len(r.NewConnections) == 1 && r.Open == 2 {
					return
				}
			}
		}
		t.Fatal("no output has the connection")
	}
	rate, seen := false, false
	for lines.Scan() {
		if strings.Contains(lines.Text(), "\x1b") {
			t.Errorf("a pipe gets control sequences: %q", lines.Text())
		}
		fields := strings.Fields(lines.Text())
		rate = rate || len(fields) > 6 && fields[3] == redirect.ChainRedirect && fields[5] != "0.0"
		seen = seen || strings.HasPrefix(lines.Text(), "new: 100.64.3.7:9100 from 10.99.0.2:")
		if rate && seen {
			return
		}
	}
	t.Fatalf("no output has the connection (%t) and its rate (%t)", seen, rate)
}

// TestOnlyATerminalIsRedrawn: a pipe keeps all outputs.
func TestOnlyATerminalIsRedrawn(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("SKIPPED: no terminals: %v", err)
	}
	defer terminal.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if !isTerminal(terminal) || isTerminal(null) || isTerminal(io.Discard) {
		t.Errorf("terminals: %t for a terminal, %t for /dev/null, %t for no file", isTerminal(terminal), isTerminal(null), isTerminal(io.Discard))
	}
}
