// SPDX-License-Identifier: Apache-2.0

package lab

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
	"sync/atomic"
	"syscall"
	"time"
)

// Command is a program to run inside a namespace.
type Command struct {
	// Path is the program. If it has no slash, it is looked up in PATH.
	Path string
	Args []string
	// UID and GID are those of the process, which then has no capabilities; 0 is root.
	UID uint32
	// Env is added to a small environment of the lab's own.
	Env []string
	// Hosts, if set, are the only names that the process can resolve.
	Hosts *Hosts
	// Stdin and Stdout may be nil. For a started [Process] without Stdout, both
	// outputs go to its log.
	Stdin  io.Reader
	Stdout io.Writer
}

// String returns the command as a person would type it in the namespace.
func (c Command) String() string {
	words := append([]string{filepath.Base(c.Path)}, c.Args...)
	for i, word := range words {
		if word == "" || strings.ContainsAny(word, " \t\n'\"\\$&|;<>()*?[]{}") {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// Result is what a finished command returned.
type Result struct {
	Stdout, Stderr string
	// Code is the exit code, -1 after a signal.
	Code int
}

// Process is a started program. It is the leader of a process group, which ends with it.
// It gets SIGKILL when this program ends, unless the lab is detached.
type Process struct {
	// Name is also the name of its log.
	Name string
	// LogPath is the file with the process's standard error. Standard output goes there
	// too, unless the command has a Stdout.
	LogPath string

	cmd    *exec.Cmd
	exited chan struct{}
	err    error
	frozen atomic.Bool
}

func (n *Namespace) command(c Command) *exec.Cmd {
	if c.Hosts != nil {
		c = c.Hosts.around(c)
	}
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "HOME=" + n.lab.Dir}, c.Env...)
	cmd.Dir = n.lab.Dir
	cmd.Stdin = c.Stdin
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if n.lab.opts.Detached {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	if c.UID != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.UID, Gid: c.UID}
	}
	return cmd
}

// Start runs c in the background until [Process.Stop], its own end, or the lab's.
// Processes of one name share a log.
func (n *Namespace) Start(name string, c Command) (*Process, error) {
	logPath := filepath.Join(n.lab.Dir, "logs", name+".log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := n.command(c)
	cmd.Stdout, cmd.Stderr = log, log
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	if err := n.onThread(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", c, err)
	}
	p := &Process{Name: name, LogPath: logPath, cmd: cmd, exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	n.lab.adopt(p)
	return p, nil
}

// Run runs c to its end and returns its output. The error is non-nil if c could not run,
// exited with a code other than 0, or outlived ctx. The result is valid in each case.
func (n *Namespace) Run(ctx context.Context, c Command) (Result, error) {
	var stdout, stderr bytes.Buffer
	cmd := n.command(c)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	cmd.WaitDelay = 10 * time.Second // a grandchild may hold the pipes
	if err := n.onThread(cmd.Start); err != nil {
		return Result{Code: -1}, fmt.Errorf("start %s: %w", c, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stop()
	err := cmd.Wait()
	result := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("%s: %w; stderr: %s", c, err, strings.TrimSpace(result.Stderr))
	}
	return result, err
}

// PID returns the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends sig to the process alone.
func (p *Process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Freeze stops the process as SIGSTOP does. Its sockets stay open, and the kernel goes on
// acknowledging for it. The process itself does nothing.
func (p *Process) Freeze() error {
	p.frozen.Store(true)
	return p.Signal(syscall.SIGSTOP)
}

// Thaw lets a frozen process go on.
func (p *Process) Thaw() error {
	p.frozen.Store(false)
	return p.Signal(syscall.SIGCONT)
}

// Running reports whether the process has neither ended nor been frozen.
func (p *Process) Running() bool { return p.alive() == nil && !p.frozen.Load() }

// Exited is closed once the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Wait waits for the end of the process and returns its exit code, -1 after a
// signal.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return -1, fmt.Errorf("%s (pid %d) has not ended: %w", p.Name, p.PID(), ctx.Err())
	}
}

// Kill ends the process and its group at once and waits for its end.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.exited
}

// Stop asks the process to end, waits up to grace, and then kills its group.
func (p *Process) Stop(grace time.Duration) {
	_ = p.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(grace):
	}
	p.Kill()
}

// Log returns what the process has written so far.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.LogPath)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// alive returns an error that shows the log once the process has ended.
func (p *Process) alive() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s ended: %w; its log:\n%s", p.Name, p.endError(), tail(p.Log(), 30))
	default:
		return nil
	}
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(all) > lines {
		all = append([]string{fmt.Sprintf("… %d lines before", len(all)-lines)}, all[len(all)-lines:]...)
	}
	return strings.Join(all, "\n")
}

// endError returns why an ended process ended; never nil.
func (p *Process) endError() error {
	if p.err != nil {
		return p.err
	}
	return errors.New("exit status 0")
}
