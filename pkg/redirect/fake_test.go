// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/iptables"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/routes"
)

// fakeTables is one family of one backend. It knows what is listed, and which scripts come in
// which order with which result. An unexpected call fails the test, and so does an expected
// call that does not come.
type fakeTables struct {
	t       *testing.T
	name    string
	listing map[string]string // table → `iptables -v -S`
	listErr error
	restore []expectedRestore
}

type expectedRestore struct {
	contains, lacks []string
	err             error
}

func (f *fakeTables) List(table string, names ...string) (map[string][]string, error) {
	f.t.Helper()
	if !slices.Contains(ourTables(), table) {
		f.t.Fatalf("%s: table %q is none of ours to read", f.name, table)
	}
	if f.listErr != nil {
		return nil, f.listErr
	}
	all := map[string][]string{}
	for line := range strings.Lines(f.listing[table]) {
		words := strings.Fields(line)
		if len(names) > 0 && !strings.Contains(" "+strings.Join(names, " ")+" ", " "+words[1]+" ") {
			continue
		}
		all[words[1]] = append(all[words[1]], strings.TrimSpace(line))
	}
	return all, nil
}

func (f *fakeTables) Restore(script string) error {
	f.t.Helper()
	if len(f.restore) == 0 {
		f.t.Fatalf("%s: iptables-restore is not expected (any more), got:\n%s", f.name, script)
	}
	want := f.restore[0]
	f.restore = f.restore[1:]
	for _, s := range want.contains {
		if !strings.Contains(script, s) {
			f.t.Fatalf("%s: iptables-restore is expected to get %q, got:\n%s", f.name, s, script)
		}
	}
	for _, s := range want.lacks {
		if strings.Contains(script, s) {
			f.t.Fatalf("%s: iptables-restore must not get %q, got:\n%s", f.name, s, script)
		}
	}
	return want.err
}

// fakeNamespace returns a namespace with the given backends. Their keys are "IPv4 nft" and so
// on.
func fakeNamespace(t *testing.T, backend Backend, fakes map[string]*fakeTables) *namespace {
	t.Helper()
	for name, f := range fakes {
		f.t, f.name = t, name
		t.Cleanup(func() {
			if len(f.restore) > 0 && !t.Failed() {
				t.Errorf("%s: %d more calls of iptables-restore were expected", name, len(f.restore))
			}
		})
	}
	return &namespace{
		backend: backend,
		log:     slog.New(slog.DiscardHandler),
		open: func(f Family, b Backend) (tables, error) {
			fake, ok := fakes[fmt.Sprint(f, " ", b)]
			if !ok {
				return nil, iptables.MissingBinary("iptables", iptables.Backend(b), fmt.Errorf("not in this test's image"))
			}
			return fake, nil
		},
		ipv6Disabled:  func() (string, bool) { return "", false },
		missingRoutes: func(*target, Family) ([]routes.Step, error) { return nil, nil },
	}
}

// builtins is the listing of a table without rules.
const builtins = "-P PREROUTING ACCEPT\n-P INPUT ACCEPT\n-P OUTPUT ACCEPT\n-P POSTROUTING ACCEPT\n"

// applied returns the listing of a family to which the rules of cfg were applied.
func applied(t *testing.T, cfg Config, f Family) map[string]string {
	t.Helper()
	target, err := cfg.target()
	if err != nil {
		t.Fatal(err)
	}
	listing := map[string]string{tableNAT: builtins, tableFilter: builtins, tableMangle: builtins}
	for _, c := range target.rulesOf(f).Chains {
		listing[c.Table] += "-N " + c.Name + "\n"
		if c.First {
			listing[c.Table] += fmt.Sprintf("-A %s -c 7 420 -j %s\n", builtinChain(c.Table), c.Name)
		}
		for _, r := range c.Rules {
			listing[c.Table] += fmt.Sprintf("-A %s %s\n", c.Name, r)
		}
	}
	return listing
}
