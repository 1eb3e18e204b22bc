// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestKubeBinIsChecked: ready-made programs of Kubernetes are copied if all of them are
// there in the wanted version. Otherwise one sentence names the folder and what is wrong
// with it, and nothing is copied.
func TestKubeBinIsChecked(t *testing.T) {
	const version = "v1.36.0"
	good := map[string]string{
		"kube-apiserver": "echo Kubernetes v1.36.0",
		"kubectl":        "[ $1 = version ] && printf 'Client Version: v1.36.0\nKustomize Version: v5.8.1\n'",
		"etcd":           "printf 'etcd Version: 3.10.1\nGit SHA: none\n'",
	}
	for name, tc := range map[string]struct {
		programs map[string]string // scripts that differ from the good ones; an empty one is left out
		refused  string
	}{
		"a program is missing":      {map[string]string{"kubectl": ""}, "it has no kubectl"},
		"another version":           {map[string]string{"kube-apiserver": "echo Kubernetes v1.35.2"}, "kube-apiserver is of version v1.35.2"},
		"another version of one":    {map[string]string{"kubectl": "echo Client Version: v1.36.1"}, "kubectl is of version v1.36.1"},
		"a longer version":          {map[string]string{"kubectl": "echo Client Version: v1.36.0-rc.1"}, "kubectl is of version v1.36.0-rc.1"},
		"a program that cannot run": {map[string]string{"kube-apiserver": "echo no such library >&2; exit 127"}, "kube-apiserver cannot be run (no such library)"},
		"an old etcd":               {map[string]string{"etcd": "echo etcd Version: 3.3.27"}, "etcd is of version 3.3.27, older than 3.4"},
		"good":                      {},
		"no etcd":                   {map[string]string{"etcd": ""}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			folder, destination := t.TempDir(), t.TempDir()
			want := 0
			for program, script := range good {
				if other, is := tc.programs[program]; is {
					script = other
				}
				if script == "" {
					continue
				}
				want++
				if err := os.WriteFile(filepath.Join(folder, program), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			checkKubeBin(t, folder, destination, version, tc.refused, want)
		})
	}
	t.Run("no folder", func(t *testing.T) {
		checkKubeBin(t, filepath.Join(t.TempDir(), "none"), t.TempDir(), version, "there is no such folder", 0)
	})
}

// checkKubeBin runs the script that `make kube` calls, which has to copy a number of
// programs, or to refuse the folder for a reason.
func checkKubeBin(t *testing.T, folder, destination, version, refused string, want int) {
	t.Helper()
	out, err := exec.Command(filepath.Join(root, "test/kubebin"), folder, version, destination, "kube-apiserver", "kubectl").CombinedOutput()
	entries, readErr := os.ReadDir(destination)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if refused == "" {
		if err != nil || len(out) != 0 || len(entries) != want {
			t.Errorf("a good folder: %v, %d of %d programs copied, and it says %q", err, len(entries), want, out)
		}
		return
	}
	sentence := "KUBE_BIN=" + folder + ": " + refused + ": name a folder with kube-apiserver, kubectl of Kubernetes v1.36.0, or leave KUBE_BIN out to build them\n"
	if err == nil || string(out) != sentence {
		t.Errorf("it ends with %v and says %q, want a failure and %q", err, out, sentence)
	}
	if len(entries) != 0 {
		t.Errorf("a folder that is refused: %d programs are copied", len(entries))
	}
}

// TestKubeBinReplacesTheBuild: with KUBE_BIN, the targets that need Kubernetes build none
// of it. Without, they build all that they copy otherwise.
func TestKubeBinReplacesTheBuild(t *testing.T) {
	for _, target := range []string{"kube", "cluster-binaries"} {
		for _, folder := range []string{"", "/somewhere/kube"} {
			out, err := exec.Command("make", "-C", root, "--dry-run", target, "KUBE_BIN="+folder).CombinedOutput()
			if err != nil {
				t.Fatalf("make --dry-run %s: %v\n%s", target, err, out)
			}
			builds := strings.Contains(string(out), "k8s.io/kubernetes/cmd/kube-apiserver")
			copies := strings.Contains(string(out), "test/kubebin '/somewhere/kube' 'v")
			if builds != (folder == "") || copies != (folder != "") {
				t.Errorf("make %s KUBE_BIN=%s builds Kubernetes: %t, copies it: %t\n%s", target, folder, builds, copies, out)
			}
		}
	}
}
