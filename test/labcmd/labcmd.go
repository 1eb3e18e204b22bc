// SPDX-License-Identifier: Apache-2.0

// Package labcmd is what the commands have in common that work in a lab of
// network namespaces.
package labcmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Main runs a command, and returns the process's exit status: 1 where run fails, 2
// where its arguments ask for help. The first SIGINT or SIGTERM ends run's context,
// so that it can tidy up; a second one kills.
func Main(name string, run func(ctx context.Context, args []string) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 2
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// Binaries are the folders of what a lab runs.
type Binaries struct{ Product, Upstream string }

// Parse adds the flags that all of these commands have to those of flags, parses
// args, and says what is wrong with them, or with who calls.
func Parse(flags *flag.FlagSet, args []string) (Binaries, error) {
	var b Binaries
	flags.StringVar(&b.Product, "bin", "", "folder of init-redirect and proxy-client (default: bin of the repository)")
	flags.StringVar(&b.Upstream, "test-bin", "", "folder of the upstream server and agent (default: test/bin of the repository)")
	if err := flags.Parse(args); err != nil {
		return b, err
	}
	switch {
	case flags.NArg() > 0:
		return b, fmt.Errorf("unknown arguments %q", flags.Args())
	case os.Geteuid() != 0:
		return b, errors.New("network namespaces need root: run it as root, or with sudo")
	}
	return b, nil
}
