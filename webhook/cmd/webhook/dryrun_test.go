// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/program"
)

// TestDryRunRefusesBadFlags: a bad flag of dry-run gives one sentence and exit code 2. No
// cluster is asked.
func TestDryRunRefusesBadFlags(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte("not: one"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"an argument", "takes nothing else", []string{"pod.yaml"}},
		{"unknown flag", "--pod is not a flag", []string{"--pod=a"}},
		{"bad namespace", `--namespace "A" is not a namespace's name`, []string{"--namespace=A"}},
		{"no image", "--image is empty", []string{"--image="}},
		{"bad image", `--image "a b" is not an image`, []string{"--image=a b"}},
		{"no time", `--timeout "0s" is not between`, []string{"--timeout=0s"}},
		{"much time", `--timeout "2h0m0s" is not between`, []string{"--timeout=2h"}},
		{"no cluster", "--kubeconfig is missing", nil},
		{"empty kubeconfig", "--kubeconfig", []string{"--kubeconfig="}},
		{"bad kubeconfig", `--kubeconfig "` + kubeconfig + `" has kind ""`, []string{"--kubeconfig", kubeconfig}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			code := run(environment{args: append([]string{"dry-run"}, tt.args...), stdout: &stdout, stderr: &stderr})
			if code != program.Usage || stdout.Len() > 0 || !strings.Contains(stderr.String(), tt.want) || strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("exit code %d, output %q, and %q; want one line with %s", code, stdout.String(), stderr.String(), tt.want)
			}
		})
	}
}
