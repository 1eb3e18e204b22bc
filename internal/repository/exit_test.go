// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/exitserver"
	"github.com/shoot-proxy/proxy-client/internal/options"
)

const exitDocument = "docs/exit.md"

// TestExitDocumentHasEveryFlag: docs/exit.md has the flags of proxy-exit, with their
// variables and defaults, in the order of the program.
func TestExitDocumentHasEveryFlag(t *testing.T) {
	documented := flags(tableOf(t, exitDocument, "## Flags"))
	fs := pflag.NewFlagSet("proxy-exit", pflag.ContinueOnError)
	fs.SortFlags = false
	options.NewProxyExit().AddFlags(fs)
	var names []string
	fs.VisitAll(func(f *pflag.Flag) {
		names = append(names, f.Name)
		cells := documented[f.Name]
		if len(cells) < 2 {
			t.Errorf("%s has no --%s", exitDocument, f.Name)
			return
		}
		if want := "`" + flagset.Variable(options.ProxyExitPrefix, f.Name) + "`"; cells[1] != want {
			t.Errorf("%s says that --%s has the variable %s, it is %s", exitDocument, f.Name, cells[1], want)
		}
		checkDefault(t, f, cells)
	})
	var rows []string
	for line := range strings.SplitSeq(read(t, filepath.Join(root, exitDocument)), "\n") {
		if flag, ok := strings.CutPrefix(line, "| `--"); ok {
			name, _, _ := strings.Cut(flag, "`")
			rows = append(rows, name)
		}
	}
	if diff := cmp.Diff(names, rows); diff != "" {
		t.Errorf("%s (-flags +rows):\n%s", exitDocument, diff)
	}
}

// TestExitDocumentNamesEveryMetric: docs/exit.md has the metrics of proxy-exit, and all
// values of their labels.
func TestExitDocumentNamesEveryMetric(t *testing.T) {
	registry := &descriptions{}
	exitserver.NewMetrics(registry)
	have := slices.Sorted(slices.Values(registry.names))
	rows := tableOf(t, exitDocument, "## Metrics")
	if diff := cmp.Diff(have, slices.Sorted(maps.Keys(rows))); diff != "" {
		t.Errorf("%s, Metrics (-code +document):\n%s", exitDocument, diff)
	}
	values := map[string][]string{}
	for _, v := range exitserver.Results() {
		values["proxy_exit_connections_total"] = append(values["proxy_exit_connections_total"], string(v))
	}
	for _, v := range exitserver.ProxyErrors() {
		values["proxy_exit_refused_total"] = append(values["proxy_exit_refused_total"], string(v))
	}
	for _, v := range exitserver.CloseReasons() {
		values["proxy_exit_close_total"] = append(values["proxy_exit_close_total"], string(v))
	}
	for metric, wanted := range values {
		for _, value := range wanted {
			if !strings.Contains(strings.Join(rows[metric], " "), "`"+value+"`") {
				t.Errorf("%s, %s: %s is missing", exitDocument, metric, value)
			}
		}
	}
}
