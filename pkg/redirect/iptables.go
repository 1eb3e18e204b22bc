// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
	list    string // path of iptables
	restore string // path of the iptables-restore that belongs to list
	wait    int    // seconds for the xtables lock
	log     *slog.Logger
	warned  map[string]bool // the chains that iptables cannot show, by family and name
}

// openIPTables finds the programs of one family and backend. What warned holds
// is not logged again. The error is a [*KernelError].
func openIPTables(ctx context.Context, log *slog.Logger, warned map[string]bool, f Family, b Backend) (tables, error) {
	base := "iptables"
	if f == IPv6 {
		base = "ip6tables"
	}
	path, err := findIPTables(ctx, base, b)
	if err != nil {
		return nil, err
	}
	restore, err := exec.LookPath(path + "-restore")
	if err != nil {
		return nil, missingBinary(base+"-restore", b, err)
	}
	return &iptablesTables{ctx: ctx, family: f, backend: b, list: path, restore: restore, wait: lockWait, log: log, warned: warned}, nil
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
	listing, err := t.run("read table "+table, "", t.list, "-w", strconv.Itoa(t.wait), "-t", table, "-v", "-S")
	if err != nil {
		return nil, err
	}
	all, err := parseListing(listing)
	if err != nil {
		return nil, &KernelError{
			Op:   fmt.Sprintf("%s, %s: read table %s", t.family, t.backend, table),
			Cure: "look at it with `iptables -t " + table + " -v -S` and `nft list ruleset`: what cannot be read cannot be changed safely",
			Err:  err,
		}
	}
	if t.backend == BackendNFT {
		if err := t.compareWithKernel(table, all); err != nil {
			return nil, err
		}
	}
	if len(names) > 0 {
		maps.DeleteFunc(all, func(name string, _ []string) bool { return !slices.Contains(names, name) })
	}
	return all, nil
}

// parseListing sorts the lines of `iptables -v -S` by chain. A line that it
// does not know is an error: a view of which a part is missing looks like a
// table in which less stands.
func parseListing(listing string) (map[string][]string, error) {
	all := map[string][]string{}
	for line := range strings.Lines(listing) {
		line = strings.TrimSuffix(line, "\n")
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0][0] == '#': // a remark, such as of chains that iptables cannot show
		case len(words) > 1 && slices.Contains([]string{"-P", "-N", "-A"}, words[0]):
			all[words[1]] = append(all[words[1]], line)
		default:
			return nil, fmt.Errorf("the line %q is none of iptables -S", line)
		}
	}
	return all, nil
}

// compareWithKernel makes sure that a listing has each of our chains that the
// kernel has in the table. iptables-nft shows what it understands, and exits
// with 0 also where it left something out.
func (t *iptablesTables) compareWithKernel(table string, listed map[string][]string) error {
	chains, err := kernelChains(t.family)
	if err != nil {
		return err
	}
	for _, c := range chains {
		if _, ok := listed[c.name]; ok || c.table != table {
			continue
		}
		if isOurs(table, c.name) {
			return foreignTable(t.family, table, fmt.Errorf("the kernel has chain %s, and iptables does not show it", c.name))
		}
		if key := fmt.Sprint(t.family, c); c.hook != "" && !t.warned[key] {
			t.warned[key] = true
			t.log.Warn("a chain that iptables cannot show stands beside our rules: it was made with nft, such as by a file for `nft -f`, a CNI plugin, a mesh or a firewall service",
				"family", t.family, "chain", c.String())
		}
	}
	return nil
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
	_, err := t.run(filepath.Base(t.restore), script, t.restore, "--noflush", "-w", strconv.Itoa(t.wait))
	return err
}

// run returns the standard output of a child that succeeds. The error of one
// that fails has what it wrote to standard error.
func (t *iptablesTables) run(op, input, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(t.ctx, program, args...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Start()
	if err == nil {
		stop := func() {}
		if t.backend == BackendLegacy { // nf_tables has no such lock
			stop = sayWhileWaiting(t.log, cmd.Process.Pid, t.wait)
		}
		err = cmd.Wait()
		stop()
	}
	if err == nil {
		return stdout.String(), nil
	}
	if strings.Contains(stderr.String(), "currently holding the xtables lock") && t.ctx.Err() == nil {
		return "", xtablesLockHeld(op, t.family, t.wait)
	}
	if ctxErr := t.ctx.Err(); ctxErr != nil {
		err = fmt.Errorf("%w: %w", ctxErr, err)
	}
	return "", classify(failure{family: t.family, backend: t.backend, op: op, stderr: stderr.String(), err: err}, capabilities())
}
