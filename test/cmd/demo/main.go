// SPDX-License-Identifier: Apache-2.0

// Demo shows on one machine what this project is for. An unmodified client in a seed
// reaches pods, services and nodes of a shoot to which it has no route.
//
//	demo                the whole story, then removes everything
//	demo --exit         what an exit in the shoot adds to it
//	demo --keep         leaves the lab running, and says how to enter it
//	demo down           removes a lab that --keep left
//
// Every client and server in it is the real one: curl, Prometheus, the upstream
// proxy-server and agent. Each step shows a command as a person could type it, and the
// end of its output. The program exits 1 as soon as a step fails. It needs root, and the
// binaries in bin/ and test/bin/.
//
// `demo targets` runs the servers in the shoot. The demo starts it itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labcmd"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// stateFile is where --keep writes what `demo down` needs.
const stateFile = "/run/shoot-proxy-demo.json"

// deadline is far beyond what a demo needs. It ends one that hangs.
const deadline = 3 * time.Minute

func main() {
	os.Exit(labcmd.Main("demo", func(ctx context.Context, args []string) error { return run(ctx, args, os.Stdout) }))
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	keep := flags.Bool("keep", false, "leave the lab standing; `demo down` removes it")
	exit := flags.Bool("exit", false, "show what an exit in the shoot adds, instead of the whole story")
	bin := flags.String("bin", "", "folder of init-redirect and proxy-client (default: bin of the repository)")
	testBin := flags.String("test-bin", "", "folder of the upstream server and agent (default: test/bin of the repository)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() == 0:
		opts := lab.Options{Detached: *keep, Bin: *bin, TestBin: *testBin}
		if *exit {
			opts.Exits = 1
		}
		return tell(ctx, newStory(out), opts)
	case flags.NArg() == 1 && flags.Arg(0) == "down":
		return down(out)
	case flags.NArg() == 1 && flags.Arg(0) == "targets":
		return targets(ctx)
	}
	return fmt.Errorf("unknown arguments %q: want none, or down", flags.Args())
}

// tell builds the lab, plays all scenes in it, and removes it.
func tell(ctx context.Context, s *story, opts lab.Options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root: run it as root, or with sudo")
	}
	if _, err := os.Stat(stateFile); err == nil && opts.Detached {
		return fmt.Errorf("a lab stands already (%s): remove it with `make demo-down` first", stateFile)
	}
	if err := opts.CheckProduct(); err != nil {
		return err
	}
	scenes := scenes()
	if opts.Exits > 0 {
		if err := opts.CheckExit(); err != nil {
			return err
		}
		scenes = exitScenes()
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	started := time.Now()
	l, err := lab.New(ctx, opts)
	if err != nil {
		return err
	}
	if err := play(ctx, s, l, scenes); err != nil {
		s.trouble(l.Logs())
		return errors.Join(err, l.Close())
	}
	if opts.Detached {
		return keepStanding(s, l)
	}
	s.step("Take everything away again")
	if err := l.Close(); err != nil {
		return err
	}
	if left := lab.Leftovers(); len(left) != 0 {
		return fmt.Errorf("left on the machine: %q", left)
	}
	s.say("No process, network namespace, rule or file of the demo is left.")
	s.done(time.Since(started))
	return nil
}

func keepStanding(s *story, l *lab.Lab) error {
	if err := l.Detach(stateFile); err != nil {
		return errors.Join(err, l.Close())
	}
	s.enter(l)
	return nil
}

func down(out io.Writer) error {
	err := lab.Remove(stateFile)
	if errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(out, "There is no lab standing.")
		return nil
	}
	if err == nil {
		fmt.Fprintln(out, "The lab is gone: its processes, network namespaces and files.")
	}
	return err
}

// targets serves the shoot's pods, services and nodes until ctx ends. It runs
// inside the shoot's network namespace.
func targets(ctx context.Context) error {
	t, err := target.Listen(net.Listen)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return t.Close()
}
