// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/program"
)

// TestCheckRefusesBadFlags: a bad flag of check gives one sentence and exit code 2. No
// cluster is asked.
func TestCheckRefusesBadFlags(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBECONFIG", "")
	t.Setenv("HOME", t.TempDir())
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"an argument", "takes nothing else", []string{"app-0"}},
		{"unknown flag", "--pod is not a flag", []string{"--pod=a"}},
		{"bad namespace", `--namespace "A" is not a namespace's name`, []string{"--namespace=a,A"}},
		{"all and some namespaces", "--all is set beside --namespace", []string{"--all", "--namespace=a"}},
		{"unknown output", `--output "yaml"`, []string{"--output=yaml"}},
		{"no time", `--timeout "0s"`, []string{"--timeout=0s"}},
		{"no cluster", "--kubeconfig is missing", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			code := run(environment{args: append([]string{"check"}, tt.args...), stdout: &stdout, stderr: &stderr})
			if code != program.Usage || stdout.Len() > 0 || !strings.Contains(stderr.String(), tt.want) || strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("exit code %d, output %q, and %q; want one line with %s", code, stdout.String(), stderr.String(), tt.want)
			}
		})
	}
}

// TestCheckNamesTheVariable: a file that KUBECONFIG names is not blamed on --kubeconfig.
func TestCheckNamesTheVariable(t *testing.T) {
	t.Setenv("KUBECONFIG", "/none")
	var stdout, stderr strings.Builder
	code := run(environment{args: []string{"check"}, stdout: &stdout, stderr: &stderr})
	if want := "webhook: KUBECONFIG \"/none\" cannot be read: there is no such file\n"; code != program.Usage || stderr.String() != want {
		t.Errorf("exit code %d and %q, want %q", code, stderr.String(), want)
	}
}

// TestCheckWithoutAnswers: if the API server does not answer, or does not know the
// caller, there is one sentence that says so, exit code 1, and no report.
func TestCheckWithoutAnswers(t *testing.T) {
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","message":"Unauthorized","code":401}`)
	}))
	defer stranger.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for _, tt := range []struct{ name, server, want string }{
		{"nobody answers", gone.URL, "does not answer: see whether 'kubectl version' works"},
		{"unknown caller", stranger.URL, "does not accept the credentials: log in again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
			text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: %q}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n"+
				"users: [{name: a, user: {token: t}}]\ncurrent-context: a\n", tt.server)
			if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr strings.Builder
			code := run(environment{args: []string{"check", "--kubeconfig=" + kubeconfig}, stdout: &stdout, stderr: &stderr})
			if code != program.Failed || stdout.Len() > 0 || !strings.Contains(stderr.String(), tt.want) || strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("exit code %d, output %q, and %q; want one line with %s", code, stdout.String(), stderr.String(), tt.want)
			}
		})
	}
}
