// SPDX-License-Identifier: Apache-2.0

// Package labcmd has what the commands share that work in a lab of network namespaces.
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

// Main runs a command, and returns the process's exit status: 1 if run fails, 2 if its
// arguments ask for help. The first SIGINT or SIGTERM ends run's context, so that it can
// remove what it made. A second one kills.
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

// Binaries are the folders of the programs that a lab runs.
type Binaries struct{ Product, Upstream string }

// Parse adds the flags that all of these commands share to flags, and parses args. It
// returns an error if the arguments are wrong, or if the user may not run the command.
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
