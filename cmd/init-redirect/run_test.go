// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/pkg/redirect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outcome is the result of one run of the program.
type outcome struct {
	code           int
	stdout, stderr string
	lastWords      string
}

// start runs the program in this process.
func start(t *testing.T, variables map[string]string, args ...string) outcome {
	t.Helper()
	terminationLog := filepath.Join(t.TempDir(), "termination-log")
	if err := os.WriteFile(terminationLog, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	var given flagset.Variables
	for name, value := range variables {
		given = append(given, name+"="+value)
	}
	// This variable is last, so it counts only if the others leave it out. Without it, a
	// run that should be refused and is not would change this host.
	given = append(given, "INIT_REDIRECT_NETNS=/run/netns/not-given-by-the-test")
	code := run(t.Context(), environment{args, given, &stdout, &stderr, terminationLog, "v1.2.3"})
	words, err := os.ReadFile(terminationLog)
	if err != nil {
		t.Fatal(err)
	}
	return outcome{code, stdout.String(), stderr.String(), string(words)}
}

// badInput returns inputs that must be refused before the kernel is asked.
func badInput() []struct {
	name    string
	args    []string
	mention []string
} {
	shoot := "--shoot-pod-cidr=100.64.0.0/12"
	return []struct {
		name    string
		args    []string
		mention []string
	}{
		{"no shoot CIDR", nil, []string{"--shoot-pod-cidr"}},
		{"no shoot CIDR, apply", []string{"apply"}, []string{"--shoot-pod-cidr"}},
		{"half a wish for verify", []string{"verify", "--proxy-port=14002"}, []string{"--proxy-port", `"14002"`, "shoot CIDRs"}},
		{"an exclusion alone for verify", []string{"verify", "--exclude-cidr=100.64.0.0/16"}, []string{"--exclude-cidr", `"100.64.0.0/16"`, "shoot CIDRs"}},
		{"no shoot CIDR, plan", []string{"plan"}, []string{"--shoot-pod-cidr"}},
		{"host bits", []string{"--shoot-pod-cidr=10.0.0.1/8"}, []string{"--shoot-pod-cidr", `"10.0.0.1/8"`}},
		{"not a CIDR", []string{"--shoot-node-cidr=shoot"}, []string{"--shoot-node-cidr", `"shoot"`}},
		{"an injected rule", []string{"--shoot-node-cidr=10.0.0.0/8 -j ACCEPT"}, []string{"--shoot-node-cidr", "-j ACCEPT"}},
		{"an empty element", []string{"--shoot-pod-cidr=10.0.0.0/8,,100.64.0.0/12"}, []string{"--shoot-pod-cidr"}},
		{"the Internet", []string{"--shoot-service-cidr=0.0.0.0/0"}, []string{"--shoot-service-cidr", `"0.0.0.0/0"`}},
		{"the Internet in two halves", []string{"--shoot-pod-cidr=0.0.0.0/1,128.0.0.0/1"}, []string{"--shoot-pod-cidr", "/1"}},
		{"the Internet in two flags", []string{"--shoot-pod-cidr=0.0.0.0/1", "--shoot-node-cidr=128.0.0.0/1"}, []string{"cidr", "/1"}},
		{"the IPv6 Internet", []string{"--shoot-pod-cidr=::/0"}, []string{"--shoot-pod-cidr", `"::/0"`}},
		{"loopback", []string{"--shoot-pod-cidr=127.0.0.0/8"}, []string{"--shoot-pod-cidr", `"127.0.0.0/8"`}},
		{"link-local", []string{"--shoot-pod-cidr=169.254.0.0/16"}, []string{"--shoot-pod-cidr", `"169.254.0.0/16"`}},
		{"multicast", []string{"--shoot-pod-cidr=224.0.0.0/8"}, []string{"--shoot-pod-cidr", `"224.0.0.0/8"`}},
		{"everything excluded", []string{shoot, "--exclude-cidr=100.64.0.0/10"}, []string{"--exclude-cidr", "100.64.0.0/10"}},
		{"proxy port 0", []string{shoot, "--proxy-port=0"}, []string{"--proxy-port", `"0"`}},
		{"proxy port 70000", []string{shoot, "--proxy-port=70000"}, []string{"--proxy-port", `"70000"`}},
		{"proxy port http", []string{shoot, "--proxy-port=http"}, []string{"--proxy-port", `"http"`}},
		{"excluded port 0", []string{shoot, "--exclude-port=22,0"}, []string{"--exclude-port", `"0"`}},
		{"excluded port 70000", []string{shoot, "--exclude-port=70000"}, []string{"--exclude-port", `"70000"`}},
		{"proxy uid 0", []string{shoot, "--proxy-uid=0"}, []string{"--proxy-uid", `"0"`}},
		{"proxy uid -1", []string{shoot, "--proxy-uid=-1"}, []string{"--proxy-uid", `"-1"`}},
		{"another mesh's uid", []string{shoot, "--proxy-uid=1337"}, []string{"--proxy-uid", `"1337"`}},
		{"excluded uid root", []string{shoot, "--exclude-uid=root"}, []string{"--exclude-uid", `"root"`}},
		{"an unknown backend", []string{shoot, "--iptables=ipfw"}, []string{"--iptables", `"ipfw"`}},
		{"an unknown backend for clean", []string{"clean", "--iptables=ipfw"}, []string{"--iptables", `"ipfw"`}},
		{"no such namespace", []string{shoot, "--netns=/run/netns/there-is-none"}, []string{"--netns", "/run/netns/there-is-none"}},
		{"a file that is no namespace", []string{shoot, "--netns=/etc/hostname"}, []string{"--netns", "/etc/hostname"}},
		{"an unknown flag", []string{shoot, "--frobnicate"}, []string{"--frobnicate"}},
		{"an unknown flag of dump", []string{"dump", "--frobnicate"}, []string{"--frobnicate"}},
		{"an unknown output", []string{"dump", "--output=xml"}, []string{"--output", `"xml"`}},
		{"a name to follow", []string{"dump", "--to=kubelet:10250"}, []string{"--to", `"kubelet:10250"`}},
		{"a user without a connection", []string{"dump", "--uid=7"}, []string{"--uid", `"7"`, "--to"}},
		{"an unknown command", []string{"aply"}, []string{`"aply"`, "did you mean apply?"}},
		{"an unknown command with a flag of another", []string{"dmp", "--output=json"}, []string{`"dmp"`, "did you mean dump?"}},
		{"two proxy ports", []string{shoot, "--proxy-port=14002", "--proxy-port=14003"}, []string{"--proxy-port", "14002", "14003", "twice"}},
		{"two outputs", []string{"dump", "--output=json", "--output=table"}, []string{"--output", "json", "table", "twice"}},
		{"drained and not", []string{"clean", "--drain", "--drain=false"}, []string{"--drain", "true", "false", "twice"}},
		{"an argument", []string{"apply", "now"}, []string{`"now"`}},
		{"an unknown log format", []string{shoot, "--log-format=xml"}, []string{"--log-format", `"xml"`}},
		{"an unknown log level", []string{shoot, "--log-level=loud"}, []string{"--log-level", `"loud"`}},
	}
}

// refused fails the test unless o is one sentence, exit code 2 and a termination message.
func (o outcome) refused(t *testing.T, mention []string) {
	t.Helper()
	if o.code != exitUsage || o.stdout != "" || strings.Count(o.stderr, "\n") != 1 {
		t.Errorf("exit code %d, want 2 and one sentence; stdout %q, stderr %q", o.code, o.stdout, o.stderr)
	}
	for _, word := range mention {
		if !strings.Contains(o.stderr, word) {
			t.Errorf("the sentence does not name %s: %s", word, o.stderr)
		}
	}
	o.checkLastWords(t)
}

func (o outcome) checkLastWords(t *testing.T) {
	t.Helper()
	var words struct {
		ExitCode    int
		Kind, Error string
	}
	if err := json.Unmarshal([]byte(o.lastWords), &words); err != nil || strings.Count(o.lastWords, "\n") != 1 {
		t.Errorf("the termination log is not one line of JSON: %q: %v", o.lastWords, err)
	}
	if words.ExitCode != o.code || words.Kind == "" || !strings.Contains(o.stderr, words.Error) {
		t.Errorf("the termination log says %+v, want exit code %d and what standard error says: %s", words, o.code, o.stderr)
	}
}

func TestBadInputIsRefused(t *testing.T) {
	for _, test := range badInput() {
		t.Run(test.name, func(t *testing.T) { start(t, nil, test.args...).refused(t, test.mention) })
	}
}

func TestEnvironmentIsReadAndTheFlagWins(t *testing.T) {
	variables := map[string]string{
		"INIT_REDIRECT_SHOOT_POD_CIDR": "100.64.0.0/12,fd00:10::/48",
		"INIT_REDIRECT_PROXY_PORT":     "70000",
	}
	start(t, variables, "plan").refused(t, []string{"INIT_REDIRECT_PROXY_PORT", "70000"})
	variables["INIT_REDIRECT_PROXY_PORT"] = "high"
	start(t, variables, "plan").refused(t, []string{"INIT_REDIRECT_PROXY_PORT", "high"})
	start(t, map[string]string{"INIT_REDIRECT_PROXI_PORT": "14002"}, "plan").refused(t, []string{"INIT_REDIRECT_PROXI_PORT", "did you mean INIT_REDIRECT_PROXY_PORT?"})
	start(t, map[string]string{"INIT_REDIRECT_DRAIN": "perhaps"}, "clean").refused(t, []string{"INIT_REDIRECT_DRAIN", "perhaps"})
}

// A warning names a list of CIDRs of which the exclusions leave nothing.
func TestAnEmptyListIsWarnedOf(t *testing.T) {
	o := start(t, in(newPod(t, netnstest.IPv4)), "plan", "--shoot-pod-cidr=100.64.0.0/12", "--shoot-node-cidr=10.250.0.0/16", "--exclude-cidr=10.0.0.0/8")
	const want = "--exclude-cidr leaves nothing of --shoot-node-cidr"
	if !strings.Contains(o.stderr, "level=WARN") || !strings.Contains(o.stderr, want) || strings.Contains(o.stderr, "nothing of --shoot-pod-cidr") {
		t.Errorf("want one warning, %s: %s", want, o.stderr)
	}
}

func TestVersionAndHelp(t *testing.T) {
	if o := start(t, nil, "version"); o.code != exitDone || o.stdout != "init-redirect v1.2.3\n" {
		t.Errorf("version: exit code %d, %q", o.code, o.stdout)
	}
	o := start(t, nil, "--help")
	for _, word := range []string{"apply", "verify", "plan", "dump", "clean", "version", "--shoot-pod-cidr", "--netns"} {
		if !strings.Contains(o.stdout, word) {
			t.Errorf("the help does not mention %s:\n%s", word, o.stdout)
		}
	}
	if o.code != exitDone || o.lastWords != "" {
		t.Errorf("help: exit code %d, termination log %q", o.code, o.lastWords)
	}
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{errors.New("disk on fire"), exitFailed},
		{&flagset.UsageError{Flag: "--x"}, exitUsage},
		{&redirect.ConfigError{Field: "Shoot"}, exitUsage},
		{&redirect.CollisionError{Address: netip.IPv6Loopback()}, exitUsage},
		{fmt.Errorf("apply: %w", &redirect.KernelError{Err: context.Canceled}), exitNotAllowed},
		{&redirect.VerifyError{Problems: []string{"x"}}, exitNotVerified},
	} {
		if got, kind := exitCode(test.err); got != test.want || kind == "" {
			t.Errorf("%T is exit code %d (%s), want %d", test.err, got, kind, test.want)
		}
	}
}

func TestLastWordsAreBoundedAndOptional(t *testing.T) {
	folder := t.TempDir()
	missing := filepath.Join(folder, "termination-log")
	writeLastWords(missing, 3, kindNotAllowed, errors.New("x"))
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a termination log was made where there is none: %v", err)
	}
	if err := os.WriteFile(missing, []byte("an older message that is longer than nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	writeLastWords(missing, 4, kindNotVerified, errors.New(strings.Repeat("ü", 9000)))
	words, err := os.ReadFile(missing)
	if err != nil || !json.Valid(words) || len(words) > 4096 {
		t.Errorf("the kubelet would cut %d bytes to something that is no JSON: %v", len(words), err)
	}
}
