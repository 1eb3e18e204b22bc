// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const policy = `apiVersion: config.shoot-proxy.io/v1alpha1
kind: ExitPolicy
rules:
- clients: [{commonName: app}]
  cidrs: [127.0.0.1/32]
`

// files are what serve needs.
type files struct {
	folder string
	ca     *certtest.Pair
}

func newFiles(t *testing.T) files {
	t.Helper()
	f := files{t.TempDir(), certtest.NewCA(t, "test CA")}
	f.write(t, "ca.crt", f.ca.CertPEM())
	f.writePair(t)
	f.write(t, "policy.yaml", []byte(policy))
	return f
}

// writePair writes a new server certificate with its key.
func (f files) writePair(t *testing.T) {
	t.Helper()
	server := f.ca.Issue(t, x509.Certificate{DNSNames: []string{"exit.test"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	f.write(t, "tls.crt", server.CertPEM())
	f.write(t, "tls.key", server.KeyPEM(t))
}

func (f files) write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(f.path(name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f files) path(name string) string { return filepath.Join(f.folder, name) }

// args returns a command line of serve, with more behind it.
func (f files) args(more ...string) []string {
	return append([]string{
		"serve", "--tls-cert=" + f.path("tls.crt"), "--tls-key=" + f.path("tls.key"), "--client-ca=" + f.path("ca.crt"), "--policy=" + f.path("policy.yaml"),
	}, more...)
}

// TestBadInputIsOneSentenceAndExitCode2 holds for each command.
func TestBadInputIsOneSentenceAndExitCode2(t *testing.T) {
	f := newFiles(t)
	f.write(t, "bad.yaml", []byte(strings.Replace(policy, "cidrs", "cidr", 1)))
	client := f.ca.Issue(t, x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	f.write(t, "client.crt", client.CertPEM())
	f.write(t, "client.key", client.KeyPEM(t))
	if err := unix.Mkfifo(f.path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		args       []string
		variables  []string
	}{
		{"no command", "no command is given", nil, nil},
		{"unknown command", "did you mean serve?", []string{"server"}, nil},
		{"unknown flag", "did you mean --policy?", f.args("--polcy=a"), nil},
		{"unknown variable", "PROXY_EXIT_POLCY is not a variable of proxy-exit: did you mean PROXY_EXIT_POLICY?", f.args(), []string{"PROXY_EXIT_POLCY=a"}},
		{"a variable like none", "PROXY_EXIT_NONSENSE is not a variable of proxy-exit: each is named after a flag, and 'proxy-exit serve --help' shows those", f.args(), []string{"PROXY_EXIT_NONSENSE=1"}},
		{"an argument", `"now" is not a flag`, f.args("now"), nil},
		{"no certificate", "--tls-cert is missing", []string{"serve"}, nil},
		{"no policy", "--policy is missing", f.args()[:4], nil},
		{"no file", "there is no such file", append(f.args()[:4], "--policy=/nowhere.yaml"), nil},
		{"bad policy", `has in line 5 the unknown field cidr in section rules[0]: did you mean cidrs?`, append(f.args()[:4], "--policy="+f.path("bad.yaml")), nil},
		{"a pipe as policy", `pipe" cannot be read: it is a named pipe; name a regular file`, append(f.args()[:4], "--policy="+f.path("pipe")), nil},
		{"a pipe as certificate", `pipe" cannot be read: it is a named pipe; name a regular file`, []string{"serve", "--tls-cert=" + f.path("pipe"), f.args()[2], f.args()[3], f.args()[4]}, nil},
		{"a client's certificate", "is not for servers", []string{"serve", "--tls-cert=" + f.path("client.crt"), "--tls-key=" + f.path("client.key"), f.args()[3], f.args()[4]}, nil},
		{"another key", "does not belong to --tls-key", []string{"serve", f.args()[1], "--tls-key=" + f.path("client.key"), f.args()[3], f.args()[4]}, nil},
		{"one port for both", "has the port of --listen-address", f.args("--listen-address=:9000", "--health-address=:9000"), nil},
		{"no time", `--dial-timeout "0s" is not positive`, f.args("--dial-timeout=0s"), nil},
		{"no streams", `--max-streams "0" is not a number of streams`, f.args("--max-streams=0"), nil},
		{"more for one client than for all", `--max-client-streams "20000" is more than all clients together may have, --max-streams 16384`, f.args("--max-client-streams=20000"), nil},
		{"negative buffer", `--total-buffer "-1"`, f.args("--total-buffer=-1"), nil},
		{"log level", `--log-level "loud" is not a log level`, f.args("--log-level=loud"), nil},
		{"policy check without file", "policy check needs one file", []string{"policy", "check"}, nil},
		{"policy without command", "policy check FILE", []string{"policy"}, nil},
		{"policy check of nothing", `"/nowhere.yaml" cannot be read: there is no such file`, []string{"policy", "check", "/nowhere.yaml"}, nil},
		{"policy check of a pipe", `pipe" cannot be read: it is a named pipe; name a regular file`, []string{"policy", "check", f.path("pipe")}, nil},
		{"policy check of a bad one", `bad.yaml" has in line 5 the unknown field cidr`, []string{"policy", "check", f.path("bad.yaml")}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(environment{args: tt.args, variables: tt.variables, stdout: &stdout, stderr: &stderr})
			said := stderr.String()
			if code != exitUsage || stdout.Len() > 0 || strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "proxy-exit: ") || !strings.Contains(said, tt.want) {
				t.Errorf("exit code %d, output %q, and %q; want one line with %s", code, stdout.String(), said, tt.want)
			}
		})
	}
}

// TestAnAddressInUse: the sentence has the flag, its value, and what to do.
func TestAnAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	f := newFiles(t)
	for flag, other := range map[string]string{"--listen-address": "--health-address", "--health-address": "--listen-address"} {
		var stdout, stderr bytes.Buffer
		args := f.args(flag+"="+taken.Addr().String(), other+"="+free.Addr().String(), "--log-level=error")
		code := run(environment{args: args, stdout: &stdout, stderr: &stderr})
		want := fmt.Sprintf("proxy-exit: %s %q cannot be listened on: address already in use: end the process that has the port, or choose another port\n", flag, taken.Addr())
		if code != exitFailed || stderr.String() != want {
			t.Errorf("%s: exit code %d and %q, want %q", flag, code, stderr.String(), want)
		}
	}
}

// TestCommandsThatPrint: version and policy check print to standard output.
func TestCommandsThatPrint(t *testing.T) {
	f := newFiles(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"version"}, "proxy-exit v1.2.3\n"},
		{[]string{"policy", "check", f.path("policy.yaml")}, f.path("policy.yaml") + " can be used: 1 rule\n"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(environment{args: tt.args, stdout: &stdout, stderr: &stderr, version: "v1.2.3"}); code != exitDone || stdout.String() != tt.want || stderr.Len() > 0 {
			t.Errorf("%v: exit code %d, %q and %q, want %q", tt.args, code, stdout.String(), stderr.String(), tt.want)
		}
	}
}

// running is a program that serves.
type running struct {
	files
	listen, health string
	log            *logtest.Buffer
	signals        chan os.Signal
	code           chan int
}

// start runs serve until its listeners are open.
func start(t *testing.T, f files, more ...string) *running {
	t.Helper()
	r := &running{files: f, log: &logtest.Buffer{}, signals: make(chan os.Signal, 2), code: make(chan int, 1)}
	r.listen, r.health = freeAddress(t), freeAddress(t)
	args := f.args(append([]string{"--listen-address=" + r.listen, "--health-address=" + r.health, "--log-format=json"}, more...)...)
	go func() {
		r.code <- run(environment{args: args, stdout: io.Discard, stderr: r.log, signals: r.signals, version: "v1.2.3"})
	}()
	waittest.Eventually(t, "the start", func() bool { return len(r.log.Lines(t, "proxy-exit started")) == 1 })
	return r
}

// freeAddress returns an address on loopback that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// connect returns a client's connection.
func (r *running) connect(t *testing.T) (*tls.Conn, *http2.ClientConn) {
	t.Helper()
	client := r.ca.Issue(t, x509.Certificate{Subject: pkix.Name{CommonName: "app"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	conn, err := tls.Dial("tcp", r.listen, &tls.Config{RootCAs: r.ca.Pool(), ServerName: "exit.test", NextProtos: []string{"h2"}, Certificates: []tls.Certificate{client.TLS()}})
	if err != nil {
		t.Fatal(err)
	}
	cc, err := (&http2.Transport{}).NewClientConn(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return conn, cc
}

// ask sends a CONNECT, and returns its status and what the stream carries.
func ask(t *testing.T, cc *http2.ClientConn, target string) (status int, body io.ReadCloser, send io.WriteCloser) {
	t.Helper()
	read, send := io.Pipe()
	response, err := cc.RoundTrip(&http.Request{Method: http.MethodConnect, URL: &url.URL{Scheme: "https", Host: target}, Host: target, Body: read, ContentLength: -1, Header: http.Header{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = send.Close(); _ = response.Body.Close() })
	return response.StatusCode, response.Body, send
}

// get returns the status and the text of a health address.
func (r *running) get(t *testing.T, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + r.health + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// TestServe: the program connects, is ready, changes its certificate and its policy while
// it runs, and drains at a signal.
func TestServe(t *testing.T) {
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	go func() {
		for {
			conn, err := target.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); _, _ = io.Copy(conn, conn) }()
		}
	}()
	f := newFiles(t)
	r := start(t, f)
	first, cc := r.connect(t)
	status, body, send := ask(t, cc, target.Addr().String())
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if code, text := r.get(t, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz says %d %s", code, text)
	}

	// Its own listener is not a target, although the policy has the address.
	f.write(t, "policy.yaml", []byte(strings.Replace(policy, "127.0.0.1/32", "127.0.0.0/8", 1)))
	waittest.Eventually(t, "the new policy", func() bool { return len(r.log.Lines(t, "the policy has changed and is in use")) == 1 })
	if status, _, _ := ask(t, cc, r.listen); status != http.StatusForbidden {
		t.Errorf("the exit's own address has status %d", status)
	}
	// A bad one changes nothing.
	f.write(t, "policy.yaml", []byte("kind: ExitPolicy\n"))
	waittest.Eventually(t, "the refusal of a bad policy", func() bool {
		return len(r.log.Lines(t, "the changed policy file cannot be used; the policy before stays in use")) == 1
	})
	if _, text := r.get(t, "/metrics"); !strings.Contains(text, "proxy_exit_policy_ok 0\n") || !strings.Contains(text, `proxy_exit_policy_reloads_total{result="failed"} 1`) {
		t.Error("/metrics does not tell of the bad policy")
	}
	if status, _, _ := ask(t, cc, target.Addr().String()); status != http.StatusOK {
		t.Errorf("status %d after a bad policy", status)
	}

	// A new certificate is used for the next connection.
	f.writePair(t)
	second, _ := r.connect(t)
	if bytes.Equal(first.ConnectionState().PeerCertificates[0].Raw, second.ConnectionState().PeerCertificates[0].Raw) {
		t.Error("the new certificate is not in use")
	}

	// The drain waits for the stream.
	r.signals <- unix.SIGTERM
	waittest.Eventually(t, "the drain", func() bool { code, _ := r.get(t, "/readyz"); return code != http.StatusOK })
	if _, err := io.WriteString(send, "still here"); err != nil {
		t.Fatal(err)
	}
	_ = send.Close()
	if got, err := io.ReadAll(body); err != nil || string(got) != "still here" {
		t.Errorf("during the drain: got %q and %v", got, err)
	}
	_ = cc.Close() // with the streams that the drain still waits for
	_ = second.Close()
	if code := waittest.Await(t, r.code, "the end"); code != exitDone {
		t.Errorf("exit code %d, want %d: %s", code, exitDone, r.log)
	}
}

// TestSecondSignal ends at once.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	r := start(t, newFiles(t))
	_, cc := r.connect(t)
	if status, _, _ := ask(t, cc, target.Addr().String()); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	r.signals <- unix.SIGTERM
	r.signals <- unix.SIGTERM
	if code := waittest.Await(t, r.code, "the end"); code != exitAborted {
		t.Errorf("exit code %d, want %d", code, exitAborted)
	}
}
