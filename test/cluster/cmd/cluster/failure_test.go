// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// TestFailedStartKeepsItsLogs: a start that fails names the step that failed. It keeps
// the logs in the folder that it names, and nothing else.
func TestFailedStartKeepsItsLogs(t *testing.T) {
	dir := folder(t)
	before := machine(t)
	binaries := brokenBinaries(t)
	t.Setenv("LAB_TEST_BIN", binaries)
	logs := filepath.Join(binaries, failureLogs)
	old := filepath.Join(logs, "of-an-earlier-start")
	if err := os.MkdirAll(old, 0o755); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err := up(within(t), dir, &out)
	if err == nil {
		t.Fatalf("clusters stand without images: %s", out.String())
	}
	nothingLeft(t, dir, before, nil)

	lines := strings.Split(err.Error(), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "start the clusters: ") || !strings.Contains(last, "import images from ") {
		t.Errorf("the last line does not say that the import of images failed: %q", last)
	}
	if !strings.Contains(err.Error(), "logs of all programs and pods are in "+logs+"\n") {
		t.Errorf("the error does not say that the logs are in %s:\n%v", logs, err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("logs of an earlier start are kept beside those of the last one: %v", err)
	}
	for _, node := range []string{"seed", "shoot"} {
		text, err := os.ReadFile(filepath.Join(logs, node, "containerd.log"))
		if err != nil {
			t.Error(err)
		} else if !strings.Contains(string(text), "containerd successfully booted") {
			t.Errorf("the log of containerd on the %s is not whole:\n%s", node, text)
		}
	}
}

// brokenBinaries returns a folder with the programs of the clusters, of which ctr imports
// no images. It is beside the real folder, because the programs are linked and not
// copied.
func brokenBinaries(t *testing.T) string {
	t.Helper()
	_, whole, err := lab.FindBinaries()
	if err != nil {
		t.Fatal(err)
	}
	broken, err := os.MkdirTemp(whole, "broken-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(broken); err != nil {
			t.Error(err)
		}
	})
	for _, folder := range []string{".", "kube", "node", "node/cni"} {
		entries, err := os.ReadDir(filepath.Join(whole, folder))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(broken, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if !entry.Type().IsRegular() {
				continue
			}
			name := filepath.Join(folder, entry.Name())
			if name == "node/ctr" {
				name = "node/ctr-that-works"
			}
			if err := os.Link(filepath.Join(whole, folder, entry.Name()), filepath.Join(broken, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	script := "#!/bin/sh\ncase \"$*\" in *import*) exit 1 ;; esac\nexec ctr-that-works \"$@\"\n"
	if err := os.WriteFile(filepath.Join(broken, "node", "ctr"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return broken
}
