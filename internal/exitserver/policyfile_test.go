// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/logtest"
)

// TestAPipeInThePolicysPlace: a policy file that is replaced by a named pipe is told of at
// once, and the policy before stays in use. The file is used again when it is back.
func TestAPipeInThePolicysPlace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write := func() {
		t.Helper()
		if err := os.WriteFile(path, []byte("apiVersion: config.shoot-proxy.io/v1alpha1\nkind: ExitPolicy\nrules: []\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	log := &logtest.Buffer{}
	f, err := OpenPolicy(path, NewMetrics(prometheus.NewRegistry()), log.Logger(slog.LevelInfo))
	if err != nil {
		t.Fatal(err)
	}
	before := f.Current()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if f.refresh() || f.Current() != before {
		t.Error("the pipe has changed the policy")
	}
	lines := log.Lines(t, "the changed policy file cannot be used; the policy before stays in use")
	if want := "read " + path + ": it is a named pipe; name a regular file"; len(lines) != 1 || lines[0]["error"] != want {
		t.Errorf("the log has %v, want one line with %q", lines, want)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write()
	f.refresh()
	if len(log.Lines(t, "the policy file is again the one in use")) != 1 {
		t.Errorf("the log does not say that the file is back:\n%s", log)
	}
}
