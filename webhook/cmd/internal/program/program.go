// SPDX-License-Identifier: Apache-2.0

// Package program runs the root command of a program, and says how the program ends: an
// exit code, and one sentence for an error.
//
//	err := program.Execute(ctx, root, os.Args[1:], os.Stdout, os.Stderr)
//	os.Exit(program.Report(os.Stderr, "webhook", err))
//
// It knows no command.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
)

// The exit codes. Scripts rely on them.
const (
	Done   = 0
	Failed = 1
	Usage  = 2 // bad flags or configuration
)

// ExitError ends the program with a code. What it is about is already written.
type ExitError int

// Exit returns an [ExitError], or nil for 0.
func Exit(code int) error {
	if code == Done {
		return nil
	}
	return ExitError(code)
}

// Error implements error.
func (e ExitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Execute executes the command that args name.
func Execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) error {
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// Report writes one sentence about an error of a program, unless it is an [ExitError], and
// returns the exit code. name is the program's, as people write it.
func Report(out io.Writer, name string, err error) int {
	if err == nil {
		return Done
	}
	if code, ok := errors.AsType[ExitError](err); ok {
		return int(code)
	}
	fmt.Fprintln(out, commandline.Sentence(name, err))
	if flagset.IsUsage(err) {
		return Usage
	}
	return Failed
}
