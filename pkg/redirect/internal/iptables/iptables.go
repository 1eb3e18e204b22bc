// SPDX-License-Identifier: Apache-2.0

//go:build linux

package iptables

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

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelerror"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/nftables"
)

// Backend is one of the two kernel interfaces behind the name iptables.
type Backend string

// The backends.
const (
	// NFT is iptables-nft.
	NFT Backend = "nft"
	// Legacy is iptables-legacy. It needs capability NET_RAW as well.
	Legacy Backend = "legacy"
)

// DefaultLockWait is a good value for [Options] LockWaitSeconds. The holders of the
// xtables lock are other programs that change rules, and each takes a moment.
const DefaultLockWait = 10

// Options are what all tables of one call have in common.
type Options struct {
	// Logger gets warnings.
	Logger *slog.Logger
	// Owns reports whether a chain is the caller's own. A listing has to show each of
	// these chains that the kernel has.
	Owns func(table, chain string) bool
	// LockWaitSeconds is how long to wait for the xtables lock.
	LockWaitSeconds int
}

// Opener opens tables. It warns only once of each chain that iptables cannot show.
type Opener struct {
	ctx    context.Context
	opt    Options
	warned map[string]bool // by family and chain
}

// NewOpener returns an Opener whose programs end with ctx.
func NewOpener(ctx context.Context, opt Options) *Opener {
	return &Opener{ctx: ctx, opt: opt, warned: map[string]bool{}}
}

// Tables are the tables of one family in one backend. Each program runs on the calling
// goroutine's thread, and so in that thread's network namespace.
type Tables struct {
	*Opener
	family  family.Family
	backend Backend
	list    string // path of iptables
	restore string // path of the iptables-restore that belongs to list
}

// Open finds the programs of one family and backend. The error is a [*kernelerror.Error].
func (o *Opener) Open(f family.Family, b Backend) (*Tables, error) {
	base := "iptables"
	if f == family.IPv6 {
		base = "ip6tables"
	}
	path, err := find(o.ctx, base, b)
	if err != nil {
		return nil, err
	}
	restore, err := exec.LookPath(path + "-restore")
	if err != nil {
		return nil, MissingBinary(base+"-restore", b, err)
	}
	return &Tables{Opener: o, family: f, backend: b, list: path, restore: restore}, nil
}

// find returns the program whose name has the backend in it. If there is none, it returns
// the plain program, provided that its version is of the backend.
func find(ctx context.Context, base string, b Backend) (string, error) {
	path, err := exec.LookPath(base + "-" + string(b))
	if err == nil {
		return path, nil
	}
	plain, plainErr := exec.LookPath(base)
	if plainErr != nil {
		return "", MissingBinary(base, b, err)
	}
	version, versionErr := exec.CommandContext(ctx, plain, "--version").Output()
	if versionErr != nil {
		return "", &kernelerror.Error{Op: "run " + plain + " --version", Cure: "reinstall Debian's package iptables in the image", Err: versionErr}
	}
	if (b == NFT) == bytes.Contains(version, []byte("nf_tables")) {
		return plain, nil
	}
	return "", MissingBinary(base, b, err)
}

// List returns `iptables -v -S` of the named chains of a table, by chain. Without names it
// returns all chains. A chain or a table that does not exist is left out, and reading does
// not create it.
func (t *Tables) List(table string, names ...string) (map[string][]string, error) {
	if t.backend == Legacy && !legacyTableExists(t.family, table) {
		return nil, nil // listing the table would create it
	}
	listing, err := t.run("read table "+table, "", t.list, "-w", strconv.Itoa(t.opt.LockWaitSeconds), "-t", table, "-v", "-S")
	if err != nil {
		return nil, err
	}
	all, err := parseListing(listing)
	if err != nil {
		return nil, &kernelerror.Error{
			Op:   fmt.Sprintf("%s, %s: read table %s", t.family, t.backend, table),
			Cure: "look at it with `iptables -t " + table + " -v -S` and `nft list ruleset`: what cannot be read cannot be changed safely",
			Err:  err,
		}
	}
	if t.backend == NFT {
		if err := t.compareWithKernel(table, all); err != nil {
			return nil, err
		}
	}
	if len(names) > 0 {
		maps.DeleteFunc(all, func(name string, _ []string) bool { return !slices.Contains(names, name) })
	}
	return all, nil
}

// parseListing sorts the lines of `iptables -v -S` by chain. A line that it does not know
// is an error: with a part left out, a table would look as if it had fewer rules.
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

// compareWithKernel refuses a listing that lacks one of the caller's chains that the kernel
// has. iptables-nft exits with 0 even if it leaves out what it does not understand.
func (t *Tables) compareWithKernel(table string, listed map[string][]string) error {
	chains, err := nftables.Chains(t.family)
	if err != nil {
		return err
	}
	for _, c := range chains {
		if _, ok := listed[c.Name]; ok || c.Table != table {
			continue
		}
		if t.opt.Owns(table, c.Name) {
			return foreignTable(t.family, table, fmt.Errorf("the kernel has chain %s, and iptables does not show it", c.Name))
		}
		if key := fmt.Sprint(t.family, c); c.Hook != "" && !t.warned[key] {
			t.warned[key] = true
			t.opt.Logger.Warn("a chain that iptables cannot show stands beside our rules: it was made with nft, such as by a file for `nft -f`, a CNI plugin, a mesh or a firewall service",
				"family", t.family, "chain", c.String())
		}
	}
	return nil
}

// legacyTableExists reports whether this namespace has a table of legacy iptables. It does
// not create the table, as iptables-legacy itself would. The result is true if the kernel
// does not tell, such as to an unprivileged user.
func legacyTableExists(f family.Family, table string) bool {
	file := "/proc/thread-self/net/ip_tables_names"
	if f == family.IPv6 {
		file = "/proc/thread-self/net/ip6_tables_names"
	}
	names, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return false // the kernel has no legacy iptables, or has not loaded it
	}
	return err != nil || slices.Contains(strings.Fields(string(names)), table)
}

// Restore feeds a script to iptables-restore --noflush. Each table of the script is one
// transaction, in order.
func (t *Tables) Restore(script string) error {
	_, err := t.run(filepath.Base(t.restore), script, t.restore, "--noflush", "-w", strconv.Itoa(t.opt.LockWaitSeconds))
	return err
}

// run returns the standard output of a program that succeeds. The error of a program that
// fails contains what it wrote to standard error.
func (t *Tables) run(op, input, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(t.ctx, program, args...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Start()
	if err == nil {
		stop := func() {}
		if t.backend == Legacy { // nf_tables has no such lock
			stop = sayWhileWaiting(t.opt.Logger, cmd.Process.Pid, t.opt.LockWaitSeconds)
		}
		err = cmd.Wait()
		stop()
	}
	if err == nil {
		return stdout.String(), nil
	}
	if strings.Contains(stderr.String(), "currently holding the xtables lock") && t.ctx.Err() == nil {
		return "", lockHeld(op, t.family, t.opt.LockWaitSeconds)
	}
	if ctxErr := t.ctx.Err(); ctxErr != nil {
		err = fmt.Errorf("%w: %w", ctxErr, err)
	}
	return "", classify(failure{family: t.family, backend: t.backend, op: op, stderr: stderr.String(), err: err}, capabilities())
}
