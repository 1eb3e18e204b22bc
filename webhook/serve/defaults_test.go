// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/webhook"
)

func TestBadConfigurationAtTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	for name, text := range map[string]string{"is missing": "", "unknown field": operatorsFile + "podCIDRs: []\n", "empty": "\n"} {
		t.Run(name, func(t *testing.T) {
			if text != "" {
				write(t, file, text)
			}
			d, err := loadDefaults(file, NewMetrics(prometheus.NewRegistry()), (&logtest.Buffer{}).Logger(slog.LevelDebug))
			if d != nil || !flagset.IsUsage(err) || !strings.Contains(err.Error(), "--config "+`"`+file+`"`) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one sentence about --config", err)
			}
			if err := os.Remove(file); err != nil && text != "" {
				t.Fatal(err)
			}
		})
	}
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Changes of the file are used. A file that cannot be used is logged once, and changes
// nothing.
func TestConfigurationIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write(t, file, operatorsFile)
	log := &logtest.Buffer{}
	metrics := NewMetrics(prometheus.NewRegistry())
	d, err := loadDefaults(file, metrics, log.Logger(slog.LevelDebug))
	if err != nil {
		t.Fatal(err)
	}
	gardener := operatorsFile + "policy: {gardener: true}\n"
	for _, step := range []struct {
		name, text string // no text: the file is missing
		gardener   bool   // of the configuration in use
		valid      float64
		bad, good  int // number of log lines so far
	}{
		{"as it was", operatorsFile, false, 1, 0, 0},
		{"bad", "kind: Pod", false, 0, 1, 0},
		{"bad still", "kind: Pod", false, 0, 1, 0},
		{"as it was before", operatorsFile, false, 1, 1, 0},
		{"new", gardener, true, 1, 1, 1},
		{"missing", "", true, 0, 2, 1},
		{"back", gardener, true, 1, 2, 1},
		{"the first again", operatorsFile, false, 1, 2, 2},
	} {
		if step.text != "" {
			write(t, file, step.text)
		} else if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		d.refresh(t.Context())
		if got := d.get().Gardener(); got != step.gardener {
			t.Errorf("%s: gardener is %t, want %t", step.name, got, step.gardener)
		}
		if got := testutil.ToFloat64(metrics.config); got != step.valid {
			t.Errorf("%s: the metric is %v, want %v", step.name, got, step.valid)
		}
		bad := len(log.Lines(t, "the configuration has changed and cannot be used: what was there before stays in use"))
		good := len(log.Lines(t, "the configuration has changed and is used from now on"))
		if bad != step.bad || good != step.good {
			t.Errorf("%s: the log has %d complaints and %d changes, want %d and %d:\n%s", step.name, bad, good, step.bad, step.good, log)
		}
	}
}

// A named pipe in the place of the file or of the certificate is refused at once, and changes
// nothing.
func TestAPipeInAFilesPlace(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "config.yaml")
	write(t, file, operatorsFile)
	log := &logtest.Buffer{}
	metrics := NewMetrics(prometheus.NewRegistry())
	d, err := loadDefaults(file, metrics, log.Logger(slog.LevelDebug))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"config.yaml", "tls.crt"} {
		if err := os.RemoveAll(filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(filepath.Join(folder, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const want = "it is a named pipe; name a regular file"
	before := d.get()
	d.refresh(t.Context())
	lines := log.Lines(t, "the configuration has changed and cannot be used: what was there before stays in use")
	if len(lines) != 1 || !strings.Contains(lines[0]["error"].(string), want) || d.get() != before {
		t.Errorf("the log has %v, want one line with %q", lines, want)
	}
	if _, err := loadDefaults(file, metrics, log.Logger(slog.LevelDebug)); err == nil || !strings.Contains(err.Error(), "cannot be read: "+want) {
		t.Errorf("at the start: %v, want %q", err, want)
	}
	if err := (&certificates{dir: folder}).refresh(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the certificate: %v, want %q", err, want)
	}
	if err := (&certificates{dir: folder}).check(); err == nil || !strings.Contains(err.Error(), "tls.crt: "+want) {
		t.Errorf("the certificate at the start: %v, want %q", err, want)
	}
}

// Every reason has its metric before the first request.
func TestMetricsAreThereFromTheStart(t *testing.T) {
	r := newTestHandler(t, &fakeSources{t: t}, nil)
	for _, reason := range webhook.Reasons() {
		for _, decision := range decisions(reason) {
			if got := r.count(decision.String(), string(reason)); got != 0 {
				t.Errorf("%s, %s begins with %v", decision, reason, got)
			}
		}
	}
}
