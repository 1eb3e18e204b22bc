// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loopback returns an address that no other test uses. Port 0, for which the kernel would
// choose a free one, is bad input.
func loopback() string {
	return fmt.Sprintf("127.%d.%d.%d:14001", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
}

// outcome runs the program until it ends by itself, without a signal.
func outcome(t *testing.T, variables map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var given flagset.Variables
	for name, value := range variables {
		given = append(given, name+"="+value)
	}
	var out, err bytes.Buffer
	code = run(environment{
		args: args, variables: given,
		stdout: &out, stderr: &err,
		version: "v1.2.3",
	})
	return code, out.String(), err.String()
}

func TestBadInputIsOneSentenceAndExitCode2(t *testing.T) {
	good := []string{"--shoot-pod-cidr=100.64.0.0/12", "--proxy-server=unix:///run/konnectivity.sock"}
	tests := []struct {
		name      string
		variables map[string]string
		args      []string // after the good ones
		want      []string // parts of the sentence
	}{
		{name: "host bits", args: []string{"--shoot-pod-cidr=10.0.0.1/8"}, want: []string{"--shoot-pod-cidr", "10.0.0.1/8"}},
		{name: "the Internet", args: []string{"--shoot-pod-cidr=0.0.0.0/0"}, want: []string{"--shoot-pod-cidr", "0.0.0.0/0"}},
		{name: "listening for all", args: []string{"--listen-address=0.0.0.0:14001"}, want: []string{"--listen-address", "0.0.0.0:14001", "loopback"}},
		{name: "the status page for all", args: []string{"--admin-address=0.0.0.0:14000"}, want: []string{"--admin-address", "0.0.0.0:14000", "loopback"}},
		{name: "port 70000", args: []string{"--listen-address=127.0.0.1:70000"}, want: []string{"--listen-address", "70000"}},
		{name: "proxy-server inside the shoot", args: []string{"--proxy-server=100.64.1.1:8090"}, want: []string{"--proxy-server", "100.64.1.1:8090"}},
		{name: "TCP without a CA", args: []string{"--proxy-server=192.0.2.7:8090"}, want: []string{"--proxy-server", "192.0.2.7:8090", "--ca-cert"}},
		{name: "mode ftp", args: []string{"--mode=ftp"}, want: []string{"--mode", "ftp"}},
		{name: "mode ftp from the environment", variables: map[string]string{"PROXY_CLIENT_MODE": "ftp"}, want: []string{"PROXY_CLIENT_MODE", "ftp"}},
		{name: "certificate without a key", args: []string{"--client-cert=/nowhere"}, want: []string{"--client-cert", "--client-key"}},
		{name: "not a duration", args: []string{"--drain-timeout=soon"}, want: []string{"--drain-timeout", "soon"}},
		{name: "not a duration from the environment", variables: map[string]string{"PROXY_CLIENT_DRAIN_TIMEOUT": "soon"}, want: []string{"PROXY_CLIENT_DRAIN_TIMEOUT", "soon"}},
		{name: "unknown flag", args: []string{"--max-connection=3"}, want: []string{"--max-connection"}},
		{name: "a flag of init-redirect", args: []string{"--proxy-port=14001"}, want: []string{"--proxy-port"}},
		{name: "unknown command", args: []string{"chekc"}, want: []string{"chekc"}},
		{name: "misspelt command", args: []string{"wiat", "--timout=3s"}, want: []string{`"wiat"`, "did you mean wait?"}},
		{name: "two modes", args: []string{"--mode=grpc", "--mode=http-connect"}, want: []string{"--mode", "grpc", "http-connect", "twice"}},
		{name: "two timeouts", args: []string{"--dial-timeout=3s", "--dial-timeout=4s"}, want: []string{"--dial-timeout", "3s", "4s", "twice"}},
		{name: "on and off", args: []string{"--accept-while-draining", "--accept-while-draining=false"}, want: []string{"--accept-while-draining", "true", "false", "twice"}},
		{name: "misspelt variable", variables: map[string]string{"PROXY_CLIENT_DIAL_TIMOUT": "3s"}, want: []string{"PROXY_CLIENT_DIAL_TIMOUT", "did you mean PROXY_CLIENT_DIAL_TIMEOUT?"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := append(append([]string(nil), good...), tt.args...)
			checkRefusal(t, tt.variables, args, tt.want)
		})
	}
	t.Run("nothing at all", func(t *testing.T) { checkRefusal(t, nil, nil, []string{"--shoot-pod-cidr"}) })
	t.Run("no server", func(t *testing.T) { checkRefusal(t, nil, good[:1], []string{"--proxy-server"}) })
	t.Run("wait for nothing", func(t *testing.T) {
		checkRefusal(t, nil, []string{"wait", "--timeout=0s"}, []string{"--timeout", "0s"})
	})
	t.Run("wait without a port", func(t *testing.T) {
		checkRefusal(t, nil, []string{"wait", "--health-address=localhost"}, []string{"--health-address", "localhost"})
	})
	t.Run("wait without a port, from the environment", func(t *testing.T) {
		checkRefusal(t, map[string]string{"PROXY_CLIENT_HEALTH_ADDRESS": "localhost"}, []string{"wait"}, []string{"PROXY_CLIENT_HEALTH_ADDRESS", "localhost"})
	})
	t.Run("wait, with a misspelt variable", func(t *testing.T) {
		checkRefusal(t, map[string]string{"PROXY_CLIENT_MOD": "grpc"}, []string{"wait"}, []string{"PROXY_CLIENT_MOD", "did you mean PROXY_CLIENT_MODE?"})
	})
	t.Run("argument for version", func(t *testing.T) { checkRefusal(t, nil, []string{"version", "please"}, []string{"please"}) })
}

func checkRefusal(t *testing.T, variables map[string]string, args, want []string) {
	t.Helper()
	code, stdout, stderr := outcome(t, variables, args...)
	if code != 2 {
		t.Errorf("bad input must end with exit code 2, got %d", code)
	}
	if stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "proxy-client: ") {
		t.Errorf("bad input must be one sentence on stderr; stdout %q, stderr %q", stdout, stderr)
	}
	for _, part := range want {
		if !strings.Contains(stderr, part) {
			t.Errorf("the sentence does not name %q: %s", part, stderr)
		}
	}
}

func TestAnAddressInUseIsExitCode1WithTheCure(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for flag, cure := range map[string]string{
		"--listen-address": "--proxy-port", "--health-address": "end the process that has the port, or choose another port", "--admin-address": "an empty --admin-address is for no status page",
	} {
		t.Run(flag, func(t *testing.T) {
			addresses := map[string]string{"--listen-address": loopback(), "--health-address": loopback(), "--admin-address": loopback()}
			addresses[flag] = taken.Addr().String()
			code, _, stderr := outcome(t, nil, "--shoot-pod-cidr=100.64.0.0/12", "--log-level=error",
				"--proxy-server=unix://"+filepath.Join(t.TempDir(), "none.sock"),
				"--listen-address="+addresses["--listen-address"], "--health-address="+addresses["--health-address"], "--admin-address="+addresses["--admin-address"])
			if code != 1 || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "proxy-client: ") {
				t.Errorf("want exit code 1 and one sentence, got %d and:\n%s", code, stderr)
			}
			for _, part := range []string{taken.Addr().String(), "address already in use", cure} {
				if !strings.Contains(stderr, part) {
					t.Errorf("the sentence does not say %q: %s", part, stderr)
				}
			}
		})
	}
}

func TestVersion(t *testing.T) {
	code, stdout, stderr := outcome(t, nil, "version")
	if code != 0 || stdout != "proxy-client v1.2.3\n" || stderr != "" {
		t.Errorf("got exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestHelpIsOnStdoutAndNoFailure(t *testing.T) {
	code, stdout, stderr := outcome(t, nil, "--help")
	if code != 0 || stderr != "" {
		t.Errorf("got exit code %d, stderr %q", code, stderr)
	}
	for _, want := range []string{"--proxy-server", "PROXY_CLIENT_DIAL_TIMEOUT"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the help does not tell of %s", want)
		}
	}
}
