// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// TestPause proves what a pod relies on. The program stays, waits for orphans of its
// process namespace, and ends with success after a signal.
func TestPause(t *testing.T) {
	labtest.RequireRoot(t)
	program := filepath.Join(t.TempDir(), "pause")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	pause := exec.Command(program)
	pause.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if err := pause.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- pause.Wait() }()
	t.Cleanup(func() { pause.Process.Kill() })

	// The shell ends and leaves a child, which ends once its file descriptor 3 is closed.
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	pid := strconv.Itoa(pause.Process.Pid)
	shell := exec.Command("nsenter", "--target", pid, "--pid", "sh", "-c", "read line <&3 &")
	shell.ExtraFiles = []*os.File{reader}
	err = shell.Run()
	reader.Close()
	if err != nil {
		t.Fatalf("start an orphan: %v", err)
	}
	children := fmt.Sprintf("/proc/%s/task/%s/children", pid, pid)
	if read(t, children) == "" {
		t.Fatal("the orphan is no child of pause")
	}
	writer.Close()
	deadline := time.Now().Add(time.Minute)
	for {
		left := read(t, children)
		if left == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute pause has not waited for its children %s", left)
		}
		select {
		case err := <-ended:
			t.Fatalf("pause ended with its child: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}

	if err := pause.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("pause ended before it was told to: %v", err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("pause, told to end, fails: %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("pause goes on a minute after SIGTERM")
	}
}

// programEnv is the variable that makes this test binary a parent that becomes pause.
const programEnv = "TEST_BECOME_PAUSE"

func TestMain(m *testing.M) {
	program := os.Getenv(programEnv)
	if program == "" {
		os.Exit(m.Run())
	}
	fmt.Fprintln(os.Stderr, becomePause(program))
	os.Exit(1)
}

// becomePause starts a child, awaits its end without taking its status, and execs program.
func becomePause(program string) error {
	child, err := syscall.ForkExec("/bin/true", []string{"true"}, nil)
	if err != nil {
		return err
	}
	for {
		err := unix.Waitid(unix.P_PID, child, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			return syscall.Exec(program, []string{program}, nil)
		}
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// TestChildThatEndedFirst proves that pause waits for a child whose SIGCHLD came before
// the program could receive it.
func TestChildThatEndedFirst(t *testing.T) {
	program := filepath.Join(t.TempDir(), "pause")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	pause := exec.Command(os.Args[0])
	pause.Env = append(os.Environ(), programEnv+"="+program)
	pause.Stderr = os.Stderr
	pause.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := pause.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- pause.Wait() }()
	t.Cleanup(func() { pause.Process.Kill() })
	pid := strconv.Itoa(pause.Process.Pid)
	name := "/proc/" + pid + "/comm"
	children := fmt.Sprintf("/proc/%s/task/%s/children", pid, pid)
	deadline := time.Now().Add(time.Minute)
	for read(t, name) != "pause" || read(t, children) != "" {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute %s has not waited for its child %s", read(t, name), read(t, children))
		}
		select {
		case err := <-ended:
			t.Fatalf("pause ended: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(content))
}
