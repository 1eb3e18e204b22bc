// SPDX-License-Identifier: Apache-2.0

// Package remover removes files, processes and cgroups from the machine when the program
// that made them ends, however it ends.
//
//	r, err := remover.Start()
//	err = r.Folder("/tmp/mine")   // before it is made
//	os.Mkdir("/tmp/mine", 0o755)
//	…
//	err = r.Remove()              // or the program is killed
//
// A process of its own, a shell script, does the work. It waits for the end of its
// standard input. That comes with [Remover.Remove] or with the end of the program, also
// by SIGKILL. The kernel itself removes processes, mounts and network namespaces of a
// node. It does not remove cgroup folders and files.
//
// It never removes anything whose name it was not given.
package remover

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

//go:embed remover.sh
var script string

// Remover is a process that waits for its program's end.
type Remover struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer

	mu    sync.Mutex
	input *os.File // nil after Remove
	done  error
}

// Start starts the process, which only waits until the end.
func Start() (*Remover, error) {
	reader, writer, err := os.Pipe() // close-on-exec: no other child keeps it open
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	r := &Remover{cmd: exec.Command("/bin/sh", "-c", script), input: writer}
	r.cmd.Dir = "/"
	r.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	r.cmd.Stdin, r.cmd.Stderr = reader, &r.stderr
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a terminal's ^C must not end it
	if err := r.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the process that removes what this one makes: %w", err), writer.Close())
	}
	return r, nil
}

// PID is the id of the process.
func (r *Remover) PID() int { return r.cmd.Process.Pid }

// Folder registers a folder for removal, with all files in it on the same file system.
func (r *Remover) Folder(path string) error { return r.tell("folder", path) }

// Cgroup registers a cgroup's folder for removal, and those below it, once no process is
// in them.
func (r *Remover) Cgroup(path string) error { return r.tell("cgroup", path) }

// Process registers the process with this id for killing. It should be the first process
// of a PID namespace: all the others end with it.
func (r *Remover) Process(pid int) error {
	started, err := StartTime(pid)
	if err != nil {
		return err
	}
	return r.tell("process", fmt.Sprint(pid, " ", started))
}

// StartTime returns when a process started, in clock ticks since boot. Together with its
// id this identifies the process. It returns an error if there is no process, or if it
// has ended and was not waited for. See proc_pid_stat(5), fields 3 and 22.
func StartTime(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the name in parentheses, which may contain any character.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return "", fmt.Errorf("process %d has ended", pid)
	}
	return fields[19], nil
}

func (r *Remover) tell(kind, what string) error {
	if kind != "process" && !removable(what) {
		return fmt.Errorf("have the %s %q removed: it is no plain absolute path of a folder in a folder", kind, what)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.input == nil {
		return fmt.Errorf("have the %s %s removed: the remover has ended", kind, what)
	}
	_, err := fmt.Fprintln(r.input, kind, what)
	return err
}

// removable reports whether the script can be given the path. The script splits at
// spaces. The root and the folders directly in it are never removed.
func removable(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && strings.Count(path, "/") >= 2 && !strings.ContainsAny(path, " \t\n*?[\\")
}

// Remove removes everything registered and waits for that. The error names what is left.
func (r *Remover) Remove() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.input == nil {
		return r.done
	}
	err := r.input.Close()
	r.input = nil
	if wait := r.cmd.Wait(); wait != nil {
		err = errors.Join(err, fmt.Errorf("remove what this program made: %w: %s", wait, strings.TrimSpace(r.stderr.String())))
	}
	r.done = err
	return err
}
