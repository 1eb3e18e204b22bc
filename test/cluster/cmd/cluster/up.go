// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/shoot-proxy/proxy-client/test/cluster"
)

// ready is what the owning program prints once the clusters are ready.
const ready = "ready\n"

// up starts the program that owns the clusters. It returns once they are ready, or after
// startLimit with an error. If it fails, only the logs are left, and no logs either if
// ctx has ended. If the clusters already run, it describes them again.
func up(ctx context.Context, dir string, out io.Writer) error {
	if state := cluster.Standing(dir); state != nil {
		return tell(ctx, state, "The clusters of this repository stand already.", out)
	}
	if left := cluster.Leftovers(dir); len(left) != 0 {
		return fmt.Errorf("parts of clusters of this repository are left, or another program starts them now: `make cluster-down` removes them: %s", left[0])
	}
	text, err := startOwner(ctx, dir)
	if err != nil {
		return errors.Join(explain(text, err), cluster.Remove(context.WithoutCancel(ctx), dir))
	}
	state := cluster.Standing(dir)
	if state == nil {
		return errors.New("the clusters were ready and have ended since: start them again with `make cluster-up`")
	}
	return tell(ctx, state, "The clusters stand.", out)
}

// startOwner returns once the owner has said that everything is ready. Otherwise it
// returns what the owner has printed.
func startOwner(ctx context.Context, dir string) (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	owner := exec.Command(program, cluster.RunArgument, dir)
	owner.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this program, and a terminal's ^C
	output, err := owner.StdoutPipe()
	if err != nil {
		return "", err
	}
	owner.Stderr = owner.Stdout
	if err := owner.Start(); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = owner.Process.Kill() }) // it may have ended
	// The owner closes its outputs once the clusters are ready, or when it ends.
	text, err := io.ReadAll(output)
	if stop() && err == nil && bytes.HasSuffix(text, []byte(ready)) {
		return "", nil
	}
	_ = owner.Process.Kill() // mostly it has ended
	return string(text), errors.Join(context.Cause(ctx), err, owner.Wait())
}

// explain puts the step of a start that failed at the end, where a person looks.
func explain(text string, err error) error {
	// The owner prints the step in the first line, after its name.
	step, details, _ := strings.Cut(strings.TrimPrefix(text, "cluster: "), "\n")
	if step == "" {
		step = "the program that owns them said nothing"
	}
	return fmt.Errorf("%sstart the clusters: %s (%w)", details, step, err)
}

// down removes the clusters.
func down(ctx context.Context, dir string, out io.Writer) error {
	if len(cluster.Leftovers(dir)) == 0 {
		_, err := fmt.Fprintln(out, "no clusters of this repository stand")
		return err
	}
	if err := cluster.Remove(ctx, dir); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, "the clusters are gone")
	return err
}

// own starts the clusters and keeps them until ctx ends.
func own(ctx context.Context, dir string) error {
	options, err := cluster.OptionsFor(dir)
	if err != nil {
		return err
	}
	options.FailureLogs = filepath.Join(options.Binaries, failureLogs)
	if err := cluster.Available(options.Binaries); err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := os.RemoveAll(options.FailureLogs); err != nil { // those of an earlier start
		return err
	}
	c, err := cluster.Start(starting, options)
	if _, none := os.Stat(options.FailureLogs); err != nil && none == nil {
		return fmt.Errorf("%w\nthe logs of all programs and pods are in %s", err, options.FailureLogs)
	}
	if err != nil {
		return err
	}
	if err := detach(); err != nil {
		return errors.Join(err, c.Close())
	}
	<-ctx.Done()
	return c.Close()
}

// failureLogs is the folder below test/bin that keeps the logs of the last start if it
// failed.
const failureLogs = "cluster-logs"

// detach reports that everything is ready and closes the outputs. The caller waits for
// that.
func detach() error {
	if _, err := io.WriteString(os.Stdout, ready); err != nil {
		return err
	}
	nothing, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer nothing.Close()
	for fd := range 3 {
		if err := syscall.Dup3(int(nothing.Fd()), fd, 0); err != nil {
			return fmt.Errorf("close the outputs: %w", err)
		}
	}
	return nil
}
