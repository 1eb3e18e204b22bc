// SPDX-License-Identifier: Apache-2.0

// Soak runs mixed traffic through the product in both modes while servers,
// agents, links and certificates are disturbed at random, and looks for
// anything that was lost.
//
//	soak                                   ten minutes, a random seed
//	soak --duration 2m --seed 42           the same disturbances as every run with these two
//	soak --mode grpc                       one mode only
//
// The seed is printed first and last. It exits 0 only if every check held,
// needs root, and the binaries in bin/ and test/bin/. Package soak says what is
// checked.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/soak"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	cfg := soak.Config{Out: out}
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.DurationVar(&cfg.Duration, "duration", 10*time.Minute, "how long to disturb; setting up and the last checks come on top")
	flags.Uint64Var(&cfg.Seed, "seed", 0, "repeats the disturbances of another run; 0 chooses one")
	flags.StringVar(&cfg.Bin, "bin", "", "folder of init-redirect and proxy-client (default: bin of the repository)")
	flags.StringVar(&cfg.TestBin, "test-bin", "", "folder of the upstream server and agent (default: test/bin of the repository)")
	flags.StringVar(&cfg.LogDir, "log-dir", "", "new folder for the logs of all processes (default: they are thrown away)")
	mode := flags.String("mode", "", "grpc or http-connect; both if empty")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unknown arguments %q", flags.Args())
	case os.Geteuid() != 0:
		return errors.New("network namespaces need root: run it as root, or with sudo")
	case *mode != "":
		cfg.Modes = []lab.Mode{lab.Mode(*mode)}
	}
	if cfg.Seed == 0 {
		cfg.Seed = uint64(rand.Uint32()) // short enough to type
	}
	return soak.Run(ctx, cfg)
}
