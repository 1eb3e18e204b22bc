// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Handle gives access to a running node, also to one that another program has started.
type Handle struct {
	// Dir is the node's folder on the machine. It has the logs.
	Dir string `json:"dir"`
	// PID is the id of the node's first process.
	PID int `json:"pid"`
}

// Run runs a program in the node and returns both of its outputs. A program of the node
// itself is found by its name alone.
func (h *Handle) Run(ctx context.Context, args ...string) (string, error) {
	return h.RunWith(ctx, nil, args...)
}

// RunWith does the same as [Handle.Run] with a standard input for the program.
func (h *Handle) RunWith(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{
		"--target", strconv.Itoa(h.PID), "--net", "--mount", "--pid", "--uts", "--ipc", "--",
	}, args...)...)
	cmd.Dir, cmd.Env = "/", environment()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &output, &output
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return output.String(), fmt.Errorf("in node %s: %s: %w: %s", filepath.Base(h.Dir), strings.Join(args, " "), err, strings.TrimSpace(output.String()))
	}
	return output.String(), nil
}

// Import gives the node the images of an OCI archive.
func (h *Handle) Import(ctx context.Context, archive string) error {
	file, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("import images: %w", err)
	}
	defer file.Close()
	// If this snapshotter is not named, ctr takes the one of containerd's configuration.
	// The archive comes through a pipe, because its folder may be hidden in the node.
	if _, err := h.RunWith(ctx, file, "ctr", "--namespace", "k8s.io", "images", "import", "--local", "--snapshotter", "overlayfs", "-"); err != nil {
		return fmt.Errorf("import images from %s: %w", archive, err)
	}
	return nil
}

// Program is a program that the node keeps running.
type Program struct {
	// Name is also the name of its log.
	Name string
	// Args begin with the path inside the node.
	Args []string
	// User is its uid and gid, without capabilities; 0 is root.
	User int
}

// StartProgram starts a program, and starts it again whenever it ends.
func (h *Handle) StartProgram(p Program) error {
	var text strings.Builder
	text.WriteString("#!/bin/sh\nexec")
	if p.User != 0 {
		fmt.Fprintf(&text, " setpriv --reuid=%d --regid=%[1]d --clear-groups", p.User)
	}
	for _, arg := range p.Args {
		text.WriteString(" '" + strings.ReplaceAll(arg, "'", `'\''`) + "'")
	}
	text.WriteString("\n")
	if err := os.WriteFile(h.path("programs", p.Name), []byte(text.String()), 0o755); err != nil {
		return err
	}
	start, err := os.OpenFile(h.path("start"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(start, p.Name)
	return errors.Join(err, start.Close())
}

// Kill sends SIGKILL to a program of the node, for example "containerd". The node starts
// it again, after 0.3 s.
func (h *Handle) Kill(ctx context.Context, program string) error {
	pid, err := os.ReadFile(h.path("pids", program))
	if err != nil {
		return fmt.Errorf("kill %s: %w", program, err)
	}
	_, err = h.Run(ctx, "kill", "-KILL", strings.TrimSpace(string(pid)))
	return err
}

// Hold kills a program of the node and keeps it from being started again, until
// [Handle.Release].
func (h *Handle) Hold(ctx context.Context, program string) error {
	if err := os.WriteFile(h.path("programs", program+".held"), nil, 0o644); err != nil {
		return err
	}
	return h.Kill(ctx, program)
}

// Release lets a held program be started again.
func (h *Handle) Release(program string) error { return os.Remove(h.path("programs", program+".held")) }

func (h *Handle) path(elements ...string) string {
	return filepath.Join(append([]string{h.Dir}, elements...)...)
}

// LogPath returns the file with a program's output.
func (h *Handle) LogPath(program string) string { return h.path("logs", program+".log") }

// Log returns the last lines of a program's output.
func (h *Handle) Log(program string, lines int) string {
	text, err := os.ReadFile(h.LogPath(program))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	if len(all) > lines {
		all = append([]string{fmt.Sprintf("… %d lines before", len(all)-lines)}, all[len(all)-lines:]...)
	}
	return strings.Join(all, "\n")
}

// Logs returns the last lines of every program.
func (h *Handle) Logs() string {
	paths, _ := filepath.Glob(h.path("logs", "*.log")) // the pattern is well formed
	sort.Strings(paths)
	var text strings.Builder
	for _, path := range paths {
		program := strings.TrimSuffix(filepath.Base(path), ".log")
		fmt.Fprintf(&text, "--- %s: %s\n%s\n", filepath.Base(h.Dir), program, h.Log(program, 20))
	}
	return text.String()
}

// WaitFor polls a condition until it returns nil. The error has the program's log.
func (h *Handle) WaitFor(ctx context.Context, program, what string, condition func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := lab.Poll(ctx, program+": "+what, func(ctx context.Context) error {
		err := condition(ctx)
		if err != nil && strings.Contains(h.Log(program, 30), "too many open files") {
			cancel(errTooManyWatchers)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, h.Log(program, 30))
	}
	return nil
}

// errTooManyWatchers will not change with time. The limit is the machine's, for each
// user.
var errTooManyWatchers = errors.New("the limit of the sysctl fs.inotify.max_user_instances is reached: end other clusters (each pair needs about 20), or raise it")
