// SPDX-License-Identifier: Apache-2.0

// Package daemon runs a program in the background for as long as a test needs it, on a
// port that no other program gets.
//
//	port, err := daemon.HoldPort()
//	defer port.Release()
//	p, err := daemon.Start("etcd", folder, "etcd", "--listen-client-urls", "http://"+port.Address())
//	defer p.Kill()
//	err = p.WaitUntil(ctx, "its health", func(ctx context.Context) error { … })
//
// A program ends with the test, also if the test is killed. It is ended by its process
// id, never by its name.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Process is a started program. It is the leader of a process group, which ends with it.
type Process struct {
	// Name is also the name of its log.
	Name string
	// LogPath is the file with its output.
	LogPath string

	cmd    *exec.Cmd
	exited chan struct{}
	err    error
}

// Start runs a program. Its log is name.log in dir. Start appends to it, so that a
// program that is started again continues its log.
func Start(name, dir, path string, args ...string) (*Process, error) {
	p := &Process{Name: name, LogPath: filepath.Join(dir, name+".log"), exited: make(chan struct{})}
	log, err := os.OpenFile(p.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir = dir
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LANG=C", "HOME=" + dir}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// Pdeathsig comes when the thread that started the process ends, not the program
		// (go.dev/issue/27505). This thread therefore stays until the process is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the process and its group at once, and waits for its end.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // the process may have ended
	<-p.exited
}

// Stop asks the process to end, and then ends what is left of its group. It returns an
// error if the process exited with an error or outlived ctx.
func (p *Process) Stop(ctx context.Context) error {
	defer p.Kill()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return p.Ended()
	}
	select {
	case <-p.exited:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("%s had to be killed: %w", p.Name, ctx.Err())
	}
}

// Ended returns nil while the process runs, and afterwards an error that shows its log.
func (p *Process) Ended() error {
	select {
	case <-p.exited:
		why := p.err
		if why == nil {
			why = errors.New("exit status 0")
		}
		return fmt.Errorf("%s ended: %w; its log:\n%s", p.Name, why, p.Log(30))
	default:
		return nil
	}
}

// Log returns the last lines of what the process wrote.
func (p *Process) Log(lines int) string {
	text, err := os.ReadFile(p.LogPath)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	if len(all) > lines {
		all = append([]string{fmt.Sprintf("… %d lines before", len(all)-lines)}, all[len(all)-lines:]...)
	}
	return strings.Join(all, "\n")
}

// WaitUntil polls condition until it returns nil, the process ends, or ctx does. A single
// call of condition may take a second.
func (p *Process) WaitUntil(ctx context.Context, what string, condition func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	return lab.Poll(ctx, p.Name+": "+what, func(ctx context.Context) error {
		if err := p.Ended(); err != nil {
			cancel(err)
			return err
		}
		ctx, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		return condition(ctx)
	})
}
