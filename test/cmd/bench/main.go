// SPDX-License-Identifier: Apache-2.0

// Bench measures what the product costs beside everything else that reaches a
// shoot through a konnectivity proxy-server, and holds it against its targets.
//
//	bench --out results            about ten minutes: tables, results.json, results.svg
//	bench --quick                  three minutes, coarser
//	bench --only setup,download    some of the work only
//
// It exits 0 when everything could be measured, also where a target is missed,
// unless --strict is given. It needs root, and the binaries in bin/ and
// test/bin/. Package bench says what is measured how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/shoot-proxy/proxy-client/test/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch role, args := args[0], args[1:]; role {
		case bench.RoleDrive:
			return bench.Drive(os.Stdin, os.Stdout)
		case bench.RoleServe:
			return serve(args)
		case bench.RoleSOCKS5:
			if len(args) != 5 {
				return fmt.Errorf("%s takes an address to listen on, a frontend, and three files", bench.RoleSOCKS5)
			}
			return bench.ServeSOCKS5(args[0], args[1], bench.Files{CA: args[2], Cert: args[3], Key: args[4]})
		}
	}
	return measure(ctx, args, os.Stdout)
}

func serve(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%s takes how many ports and how many bytes to serve", bench.RoleServe)
	}
	ports, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	return bench.Serve(os.Stdout, ports, size)
}

func measure(ctx context.Context, args []string, out io.Writer) error {
	cfg := bench.Config{Out: out}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&cfg.Quick, "quick", false, "measure less of everything")
	flags.StringVar(&cfg.Bin, "bin", "", "folder of init-redirect and proxy-client (default: bin of the repository)")
	flags.StringVar(&cfg.TestBin, "test-bin", "", "folder of the upstream server and agent (default: test/bin of the repository)")
	only := flags.String("only", "", "works to measure, comma-separated: setup, round-trips, download, upload, scrape, hold (default: all)")
	dir := flags.String("out", "", "folder for results.json and results.svg (default: they are not written)")
	strict := flags.Bool("strict", false, "exit 1 where a target is missed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unknown arguments %q", flags.Args())
	case os.Geteuid() != 0:
		return errors.New("network namespaces need root: run it as root, or with sudo")
	case *only != "":
		cfg.Only = strings.Split(*only, ",")
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
