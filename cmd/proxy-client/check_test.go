// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/internal/options"
)

// checkOutcome runs the command check outside of a pod.
func checkOutcome(t *testing.T, variables flagset.Variables, args ...string) (code int, r report.Report, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(environment{
		args: append([]string{"check"}, args...), variables: variables, stdout: &out, stderr: &err, version: "v1.2.3", checkRedirect: notRedirected,
	})
	_ = json.Unmarshal(out.Bytes(), &r) // the report stays empty if the output is none
	return code, r, out.String(), err.String()
}

func found(t *testing.T, r report.Report, name string) report.Step {
	t.Helper()
	for _, s := range r.Steps {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("there is no step %s in %+v", name, r)
	return report.Step{}
}

// TestHelpOfCheck: the flags of check itself stand before those of the sidecar.
func TestHelpOfCheck(t *testing.T) {
	code, _, stdout, stderr := checkOutcome(t, nil, "--help")
	own, sidecars, found := strings.Cut(stdout, "\nFlags of the sidecar, ")
	if code != 0 || stderr != "" || !found {
		t.Fatalf("exit code %d, stderr %q; the help has no heading for the sidecar's flags:\n%s", code, stderr, stdout)
	}
	flags := func(text string) (names []string) {
		for _, match := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)`).FindAllStringSubmatch(text, -1) {
			names = append(names, match[1])
		}
		return names
	}
	_, own, _ = strings.Cut(own, "\nFlags:\n")
	if diff := cmp.Diff([]string{"help", "output", "probe", "watch"}, flags(own)); diff != "" {
		t.Errorf("the flags of check (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(options.NewProxyClient().Names())), flags(sidecars)); diff != "" {
		t.Errorf("the flags of the sidecar (-want +got):\n%s", diff)
	}
}

func TestCheckTakesTheRunningSidecarsConfiguration(t *testing.T) {
	socket, _ := grpcServer(t)
	p := start(t, socket)
	defer func() {
		p.signals <- unix.SIGTERM
		p.wantExit(0)
	}()
	admin := p.started["admin"].(string)
	code, r, _, stderr := checkOutcome(t, flagset.Variables{"PROXY_CLIENT_ADMIN_ADDRESS=" + admin}, "--output=json", "100.64.0.53:80")
	if code != 1 || r.ExitCode != 1 || stderr != "" {
		t.Fatalf("exit code %d and %d; stderr %q", code, r.ExitCode, stderr)
	}
	configuration := found(t, r, report.StepConfiguration)
	for _, want := range []string{"running sidecar (" + admin + ")", "unix://" + socket + " (grpc)", "100.64.0.0/12 without 100.64.0.53/32"} {
		if !strings.Contains(configuration.Found, want) {
			t.Errorf("the configuration is said to be %q, without %q", configuration.Found, want)
		}
	}
	if s := found(t, r, report.StepDestination); s.Result != report.Failure || s.Cause != report.CauseOutside {
		t.Errorf("the excluded target is %+v", s)
	}
	if s := found(t, r, report.StepSidecar); s.Result != report.OK || !strings.Contains(s.Found, "version v1.2.3") {
		t.Errorf("the sidecar runs, and is %+v", s)
	}

	// A flag of this command wins, and the report says which.
	_, r, _, _ = checkOutcome(t, nil, "--output=json", "--admin-address="+admin, "--exclude-cidr=100.64.7.0/24", "100.64.0.53:80")
	if s := found(t, r, report.StepDestination); s.Result != report.OK {
		t.Errorf("the target is excluded no longer, and is %+v", s)
	}
	if s := found(t, r, report.StepConfiguration); !strings.Contains(s.Found, "("+admin+") and --exclude-cidr of this command") {
		t.Errorf("the configuration is said to be %q", s.Found)
	}
	// The fake server has no agent, and the fake redirect does not work.
	if s := found(t, r, report.StepRedirect); s.Result != report.Failure {
		t.Errorf("the redirect is %+v", s)
	}
}

func TestCheckWithoutASidecar(t *testing.T) {
	nowhere := "--admin-address=" + loopback()
	health := "--health-address=" + loopback()
	code, r, _, _ := checkOutcome(t, nil, "--output=json", nowhere, health)
	if s := found(t, r, report.StepSidecar); code != 1 || s.Result != report.Failure || s.Cause != report.CauseNotRunning {
		t.Errorf("exit code %d: %+v", code, s)
	}
	if s := found(t, r, report.StepConnect); s.Result != report.Skipped {
		t.Errorf("there is no configuration, and the server is %+v", s)
	}
	socket, _ := grpcServer(t)
	_, r, _, _ = checkOutcome(t, flagset.Variables{"PROXY_CLIENT_SHOOT_POD_CIDR=100.64.0.0/12", "PROXY_CLIENT_PROXY_SERVER=unix://" + socket}, "--output=json", nowhere, health)
	if s := found(t, r, report.StepSidecar); s.Result != report.Warning {
		t.Errorf("the configuration is given by variables, and the missing sidecar is %+v", s)
	}
	if s := found(t, r, report.StepMode); s.Result != report.OK || s.Mode != "grpc" {
		t.Errorf("the server's mode is %+v", s)
	}
}

// TestCheckNamesTheEgressSelectorsField: a mode that a file gives is changed in that file.
func TestCheckNamesTheEgressSelectorsField(t *testing.T) {
	socket, _ := grpcServer(t)
	path := filepath.Join(t.TempDir(), "egress.yaml")
	file := "apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections:\n" +
		"- {name: cluster, connection: {proxyProtocol: HTTPConnect, transport: {uds: {udsName: " + socket + "}}}}\n"
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	_, r, _, _ := checkOutcome(t, nil, "--output=json", "--admin-address="+loopback(), "--health-address="+loopback(), "--shoot-pod-cidr=100.64.0.0/12", "--egress-selector-config-file="+path)
	s := found(t, r, report.StepMode)
	if want := "set --egress-selector-config-file's proxyProtocol=GRPC"; s.Cause != report.CauseWrongMode || s.Next != want || strings.Contains(s.Found, "--mode") {
		t.Errorf("the server's mode is %+v, want %q", s, want)
	}
}

// TestCheckBelievesOnlyASidecar: where another program has the admin address, the
// configuration is that of the variables, whatever the program answers.
func TestCheckBelievesOnlyASidecar(t *testing.T) {
	socket, _ := grpcServer(t)
	for _, body := range []string{"{}", "null", `{"instance":"","settings":[]}`, `{"settings":"none"}`, "<html>"} {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		address := other.Listener.Addr().String()
		code, r, _, stderr := checkOutcome(t, flagset.Variables{
			"PROXY_CLIENT_SHOOT_POD_CIDR=100.64.0.0/12", "PROXY_CLIENT_PROXY_SERVER=unix://" + socket, "PROXY_CLIENT_ADMIN_ADDRESS=" + address,
		}, "--output=json", "--health-address="+loopback())
		other.Close()
		if code == 2 {
			t.Errorf("%s: the other program is believed: %s", body, stderr)
			continue
		}
		if s := found(t, r, report.StepConfiguration); s.Result != report.OK || !strings.Contains(s.Found, "of this command") {
			t.Errorf("%s: the configuration is %+v", body, s)
		}
		if s := found(t, r, report.StepSidecar); s.Result != report.Warning || s.Cause != report.CauseNotRunning || !strings.Contains(s.Found, address) {
			t.Errorf("%s: no sidecar runs, and it is %+v", body, s)
		}
	}
}

func TestCheckRefusesBadInput(t *testing.T) {
	nowhere := "--admin-address=" + loopback()
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"10.250.0.4"}, `the target "10.250.0.4" has no port`},
		{[]string{"http://10.250.0.4:80"}, "without a scheme"},
		{[]string{"--output=yaml"}, `--output "yaml" is not an output: write text or json`},
		{[]string{"--shoot-pod-cidr=10.0.0.1/8"}, "host bits"},
		{[]string{"--shoot-pod-cidr=100.64.0.0/12"}, "--proxy-server is not given"},
		{[]string{"--shoot-pod-cidr=100.64.0.0/12", "--proxy-server=vpn:8090", "--ca-cert=/ca.crt", "--client-cert=/tls.crt"}, "--client-key"},
		{[]string{"--wach"}, "did you mean --watch?"},
	} {
		code, _, stdout, stderr := checkOutcome(t, nil, append(tc.args, nowhere, "--health-address="+loopback())...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, tc.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q; want one sentence with %q", tc.args, code, stdout, stderr, tc.want)
		}
	}
}

// TestCheckAgainAndAgain: --watch goes on until a signal, and shows what has changed.
func TestCheckAgainAndAgain(t *testing.T) {
	socket, stop := grpcServer(t)
	signals, done := make(chan os.Signal, 1), make(chan int, 1)
	var out, stderr logtest.Buffer
	go func() {
		done <- run(environment{
			args: []string{
				"check", "--watch", "--shoot-pod-cidr=100.64.0.0/12", "--proxy-server=unix://" + socket,
				"--admin-address=" + loopback(), "--health-address=" + loopback(),
			}, stdout: &out, stderr: &stderr, signals: signals, checkRedirect: notRedirected,
		})
	}()
	p := &program{t: t, stderr: &stderr, code: done}
	p.eventually("the first report is shown", func() bool { return strings.Contains(out.String(), "in step") })
	if first := out.String(); !strings.Contains(first, "speaks grpc") {
		t.Errorf("the server is there, and the first report is\n%s", first)
	}
	stop()
	p.eventually("the change is shown", func() bool { return strings.Contains(out.String(), "Changed at") })
	if later := out.String(); !strings.Contains(later, "was ok, is failure") {
		t.Errorf("the server has gone, and the report is\n%s", later)
	}
	signals <- unix.SIGINT
	p.wantExit(1)
}
