// SPDX-License-Identifier: Apache-2.0

// Bench measures what the product costs beside everything else that reaches a shoot
// through a konnectivity proxy-server. It compares the figures with the product's
// targets.
//
//	bench --out results            about ten minutes: tables, results.json, results.svg
//	bench --quick                  three minutes, coarser
//	bench --only setup,download    some of the work only
//
// It exits 0 if everything could be measured. A missed target does not change that unless
// --strict is given. It needs root, and the binaries in bin/ and test/bin/. Package bench
// says what is measured and how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/test/bench"
	"github.com/shoot-proxy/proxy-client/test/labcmd"
)

func main() {
	os.Exit(labcmd.Main("bench", run))
}

func run(ctx context.Context, args []string) error {
	if ran, err := bench.Play(args, os.Stdin, os.Stdout); ran {
		return err
	}
	return measure(ctx, args, os.Stdout)
}

func measure(ctx context.Context, args []string, out io.Writer) error {
	cfg := bench.Config{Out: out}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "measure less of everything")
	only := flags.String("only", "", "works to measure, comma-separated: "+strings.Join(bench.Works(), ", ")+" (default: all)")
	contenders := flags.String("contenders", "", "contenders to measure, comma-separated, as the tables name them (default: all)")
	dir := flags.String("out", "", "folder for results.json and results.svg (default: they are not written)")
	strict := flags.Bool("strict", false, "exit 1 where a target is missed")
	binaries, err := labcmd.Parse(flags, args)
	if err != nil {
		return err
	}
	cfg.Bin, cfg.TestBin = binaries.Product, binaries.Upstream
	if cfg.Only, err = choice("--only", *only, bench.Works()); err != nil {
		return err
	}
	if cfg.Contenders, err = choice("--contenders", *contenders, bench.Contenders()); err != nil {
		return err
	}
	if *quick {
		cfg.Scale = bench.Quick
	}
	results, err := bench.Run(ctx, cfg)
	if results == nil {
		return err
	}
	results.Judge()
	err = errors.Join(err, results.Print(out))
	if *dir != "" {
		err = errors.Join(err, results.Write(*dir))
	}
	if err == nil && *strict {
		for _, v := range results.Targets {
			if !v.Met {
				err = errors.Join(err, fmt.Errorf("missed: %s: %s, got %.3g", v.Name, v.Target, v.Got))
			}
		}
	}
	return err
}

// choice returns the parts of a flag's comma-separated value. Each must be one of all.
func choice[T ~string](flag, value string, all []T) (chosen []T, err error) {
	if value == "" {
		return nil, nil
	}
	for name := range strings.SplitSeq(value, ",") {
		if !slices.Contains(all, T(name)) {
			return nil, fmt.Errorf("%s %q: there is no %q among %q", flag, value, name, all)
		}
		chosen = append(chosen, T(name))
	}
	return chosen, nil
}
