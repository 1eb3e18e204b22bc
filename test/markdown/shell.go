// SPDX-License-Identifier: Apache-2.0

package markdown

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Shell is a bash that runs one command after the other, as a reader's bash does.
// Variables, functions and the folder stay.
type Shell struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	status *bufio.Reader // an exit code for each command
	pipe   *os.File
	dir    string // for the shell's own files
}

// NewShell starts a shell in a folder.
func NewShell(folder string, environment []string) (_ *Shell, err error) {
	dir, err := os.MkdirTemp("", "markdown-")
	if err != nil {
		return nil, fmt.Errorf("start a shell: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start a shell: %w", err)
	}
	defer write.Close()
	cmd := exec.Command("bash", "--noprofile", "--norc", "-o", "pipefail", "-s")
	cmd.Dir, cmd.Env = folder, environment
	cmd.ExtraFiles = []*os.File{write} // file 3 in the shell
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a shell: %w", err), read.Close())
	}
	return &Shell{cmd: cmd, stdin: stdin, status: bufio.NewReader(read), pipe: read, dir: dir}, nil
}

// Run runs a command, and returns its output. It fails if the command does. If ctx ends
// before the command does, the shell is killed.
func (s *Shell) Run(ctx context.Context, command string) (printed string, err error) {
	script, output := filepath.Join(s.dir, "command"), filepath.Join(s.dir, "output")
	if err := os.WriteFile(script, []byte(command+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("hand a command to the shell: %w", err)
	}
	stop := context.AfterFunc(ctx, s.kill)
	defer stop()
	// The command is sourced. If bash cannot parse it, the command fails and the shell
	// goes on.
	if _, err := fmt.Fprintf(s.stdin, "source %q </dev/null >%q 2>&1 3>&-\necho $? >&3\n", script, output); err != nil {
		return "", fmt.Errorf("hand a command to the shell: %w", err)
	}
	line, err := s.status.ReadString('\n')
	text, readErr := os.ReadFile(output)
	printed = string(text)
	switch {
	case ctx.Err() != nil:
		return printed, fmt.Errorf("the command did not end: %w", context.Cause(ctx))
	case errors.Is(err, io.EOF):
		return printed, errors.New("the command ended the shell")
	case err != nil || readErr != nil:
		return printed, fmt.Errorf("read what a command printed: %w", errors.Join(err, readErr))
	}
	code, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return printed, fmt.Errorf("read a command's exit code: %w", err)
	}
	if code != 0 {
		return printed, fmt.Errorf("exit code %d", code)
	}
	return printed, nil
}

// kill ends the shell, and what it has started.
func (s *Shell) kill() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // fails if no process is left
}

// Close ends the shell and the processes that are left in its process group. It removes
// the shell's files.
func (s *Shell) Close() error {
	s.kill()
	_ = s.cmd.Wait() // the process was killed
	return errors.Join(s.pipe.Close(), os.RemoveAll(s.dir))
}
