// SPDX-License-Identifier: Apache-2.0

package markdown

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// pause is the time between two attempts of a command whose output does not match yet.
const pause = 500 * time.Millisecond

// Runner runs the steps of documents, in one shell and one folder.
type Runner struct {
	shell  *Shell
	folder string
	log    func(format string, args ...any)
}

// NewRunner returns a Runner that works in a folder, where it writes the files. It
// reports each step to log, such as [testing.T.Logf].
func NewRunner(folder string, environment []string, log func(format string, args ...any)) (*Runner, error) {
	shell, err := NewShell(folder, environment)
	if err != nil {
		return nil, err
	}
	return &Runner{shell: shell, folder: folder, log: log}, nil
}

// Close ends the shell.
func (r *Runner) Close() error { return r.shell.Close() }

// Run runs the steps in order, except for those that are skipped. A command has to
// succeed. If its output does not match the document, it is run again until it does: a
// reader would look again too.
func (r *Runner) Run(ctx context.Context, steps []Step) error {
	for _, step := range steps {
		if err := r.do(ctx, step); err != nil {
			return fmt.Errorf("%s\n%w", step, err)
		}
	}
	return nil
}

func (r *Runner) do(ctx context.Context, step Step) error {
	switch {
	case step.Skipped != "":
		r.log("%s\nnot run: %s", step, step.Skipped)
		return nil
	case step.File != "":
		r.log("%s", step)
		return os.WriteFile(filepath.Join(r.folder, step.File), []byte(step.Content), 0o600)
	case step.Output != "":
		return r.until(ctx, step)
	}
	printed, err := r.shell.Run(ctx, step.Command)
	r.log("%s\n%s", step, printed)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, printed)
	}
	return nil
}

// until runs a command until its output matches the document.
func (r *Runner) until(ctx context.Context, step Step) error {
	for {
		printed, err := r.shell.Run(ctx, step.Command)
		if err == nil && Matches(step.Output, printed) {
			r.log("%s\n%s", step, printed)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it has to print\n%s\nand in the end it printed (error: %w)\n%s", step.Output, err, printed)
		case <-time.After(pause):
		}
	}
}
