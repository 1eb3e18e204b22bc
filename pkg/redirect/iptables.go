// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-iptables/iptables"
)

// lockWait is how many seconds to wait for the xtables lock. Its holders are
// other programs that change rules, a moment each.
const lockWait = 10

// iptablesTables is [tables] on the real programs. Each child runs on the
// calling goroutine's thread, and so in its network namespace.
type iptablesTables struct {
	ctx     context.Context
	family  Family
	backend Backend
	list    *iptables.IPTables
	restore string // path of the iptables-restore that belongs to list
}

// openIPTables finds the programs of one family and backend and looks at their
// version. The error is a [*KernelError].
func openIPTables(ctx context.Context, f Family, b Backend) (tables, error) {
	base, protocol := "iptables", iptables.ProtocolIPv4
	if f == IPv6 {
		base, protocol = "ip6tables", iptables.ProtocolIPv6
	}
	path, err := findIPTables(ctx, base, b)
	if err != nil {
		return nil, err
	}
	list, err := iptables.New(iptables.Path(path), iptables.IPFamily(protocol), iptables.Timeout(lockWait))
	if err != nil {
		return nil, classify(failure{family: f, backend: b, op: "look at " + path, err: err}, capabilities())
	}
	restore, err := exec.LookPath(path + "-restore")
	if err != nil {
		return nil, missingBinary(base+"-restore", b, err)
	}
	return &iptablesTables{ctx: ctx, family: f, backend: b, list: list, restore: restore}, nil
}

// findIPTables returns the program whose name says its backend, or the plain
// one where its version says so.
func findIPTables(ctx context.Context, base string, b Backend) (string, error) {
	path, err := exec.LookPath(base + "-" + string(b))
	if err == nil {
		return path, nil
	}
	plain, plainErr := exec.LookPath(base)
	if plainErr != nil {
		return "", missingBinary(base, b, err)
	}
	// go-iptables reads the mode as well, but keeps it to itself.
	version, versionErr := exec.CommandContext(ctx, plain, "--version").Output()
	if versionErr != nil {
		return "", &KernelError{Op: "run " + plain + " --version", Cure: "reinstall Debian's package iptables in the image", Err: versionErr}
	}
	if (b == BackendNFT) == bytes.Contains(version, []byte("nf_tables")) {
		return plain, nil
	}
	return "", missingBinary(base, b, err)
}

// List implements tables.
func (t *iptablesTables) List(table string, names ...string) (map[string][]string, error) {
	if t.backend == BackendLegacy && !legacyTableExists(t.family, table) {
		return nil, nil // listing it would make it
	}
	existing, err := t.list.ListChains(table)
	if err != nil {
		return nil, t.failed("read table "+table, "", err)
	}
	all := map[string][]string{}
	for _, name := range existing {
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		lines, err := t.list.ListWithCounters(table, name)
		if err != nil {
			return nil, t.failed("read table "+table+" chain "+name, "", err)
		}
		all[name] = lines
	}
	return all, nil
}

// legacyTableExists reports whether this namespace has a table of legacy
// iptables, without making it, as iptables-legacy itself would. Where the
// kernel does not say, as to an unprivileged user, it may have.
func legacyTableExists(f Family, table string) bool {
	file := "/proc/thread-self/net/ip_tables_names"
	if f == IPv6 {
		file = "/proc/thread-self/net/ip6_tables_names"
	}
	names, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return false // the kernel has no legacy iptables, or never needed it
	}
	return err != nil || slices.Contains(strings.Fields(string(names)), table)
}

// Restore implements tables.
func (t *iptablesTables) Restore(script string) error {
	cmd := exec.CommandContext(t.ctx, t.restore, "--noflush", "-w", strconv.Itoa(lockWait))
	cmd.Stdin = strings.NewReader(script)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return t.failed(filepath.Base(t.restore), stderr.String(), err)
	}
	return nil
}

func (t *iptablesTables) failed(op, stderr string, err error) error {
	if ctxErr := t.ctx.Err(); ctxErr != nil {
		err = fmt.Errorf("%w: %w", ctxErr, err)
	}
	return classify(failure{family: t.family, backend: t.backend, op: op, stderr: stderr, err: err}, capabilities())
}
