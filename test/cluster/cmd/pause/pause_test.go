// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

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

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(content))
}
