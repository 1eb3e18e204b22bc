// SPDX-License-Identifier: Apache-2.0

// Soak runs mixed traffic through the product in both modes, while servers, agents, links
// and certificates are disturbed at random. Then it looks for anything that was lost.
//
//	soak                                   ten minutes, a random seed
//	soak --duration 2m --seed 42           the same disturbances as every run with these two
//	soak --mode grpc                       one mode only
//	soak --exit                            everything goes through exits in the shoot
//
// The seed is printed first and last. It exits 0 only if every check held. It needs root,
// and the binaries in bin/ and test/bin/. Package soak says what is checked.
package main

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labcmd"
	"github.com/shoot-proxy/proxy-client/test/soak"
)

func main() {
	os.Exit(labcmd.Main("soak", run))
}

func run(ctx context.Context, args []string) error {
	cfg := soak.Config{Out: os.Stdout}
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.DurationVar(&cfg.Duration, "duration", 10*time.Minute, "how long to disturb; setting up and the last checks come on top")
	flags.Uint64Var(&cfg.Seed, "seed", 0, "repeats the disturbances of another run; 0 chooses one")
	flags.StringVar(&cfg.LogDir, "log-dir", "", "new folder for the logs of all processes (default: they are thrown away)")
	flags.BoolVar(&cfg.Exit, "exit", false, "send everything through exits in the shoot, which are disturbed as well")
	mode := flags.String("mode", "", "grpc or http-connect; both if empty")
	binaries, err := labcmd.Parse(flags, args)
	if err != nil {
		return err
	}
	cfg.Bin, cfg.TestBin = binaries.Product, binaries.Upstream
	if *mode != "" {
		cfg.Modes = []lab.Mode{lab.Mode(*mode)}
	}
	if cfg.Seed == 0 {
		cfg.Seed = uint64(rand.Uint32()) // short enough to type
	}
	return soak.Run(ctx, cfg)
}
