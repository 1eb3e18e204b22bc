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
	"syscall"

	"github.com/shoot-proxy/proxy-client/test/cluster"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// ready is what the owning program says once the clusters are.
const ready = "ready\n"

// up starts the program that owns the clusters and returns once they are ready, or after
// startLimit with an error. If that fails, or ctx ends, nothing is left.
func up(ctx context.Context, dir string, out io.Writer) error {
	if left := cluster.Leftovers(dir); len(left) != 0 {
		return fmt.Errorf("clusters of this repository stand already, or parts of them: `make cluster-down` removes them: %s", left[0])
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	owner := exec.Command(program, cluster.RunArgument, dir)
	owner.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this program, and a terminal's ^C
	output, err := owner.StdoutPipe()
	if err != nil {
		return err
	}
	owner.Stderr = owner.Stdout
	if err := owner.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = owner.Process.Kill() }) // it may have ended
	// The owner closes its outputs once the clusters are ready.
	text, err := io.ReadAll(output)
	if stop() && err == nil && bytes.HasSuffix(text, []byte(ready)) {
		return tell(dir, out)
	}
	_ = owner.Process.Kill() // its output says why
	_ = owner.Wait()
	return errors.Join(fmt.Errorf("start the clusters: %w\n%s", errors.Join(context.Cause(ctx), err), text), cluster.Remove(context.WithoutCancel(ctx), dir))
}

// tell prints what a shell takes.
func tell(dir string, out io.Writer) error {
	c := cluster.Clusters{Dir: dir}
	_, err := fmt.Fprintf(out, "export SEED_KUBECONFIG=%s SHOOT_KUBECONFIG=%s\n", c.SeedKubeconfig(), c.ShootKubeconfig())
	return err
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
	options, err := options(dir)
	if err != nil {
		return err
	}
	if err := cluster.Available(options.Binaries); err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	c, err := cluster.Start(starting, options)
	if err != nil {
		return err
	}
	if err := detach(); err != nil {
		return errors.Join(err, c.Close())
	}
	<-ctx.Done()
	return c.Close()
}

// options has the images of `make images` imported, if there are any.
func options(dir string) (cluster.Options, error) {
	_, binaries, err := lab.FindBinaries()
	if err != nil {
		return cluster.Options{}, err
	}
	images, err := cluster.ProductImages()
	return cluster.Options{Binaries: binaries, Images: images, Dir: dir}, err
}

// detach says that all is ready and closes the outputs, for which the caller waits.
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
