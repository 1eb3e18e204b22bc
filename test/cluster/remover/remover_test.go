// SPDX-License-Identifier: Apache-2.0

package remover

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

func TestRemoverTakesNoPathThatCouldMeanMore(t *testing.T) {
	r, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Remove()
	for _, path := range []string{"", "/", "/tmp", "tmp/mine", "/tmp/../etc", "/tmp/mine/", "/tmp/a b", "/tmp/*", "/tmp/mine\nfolder /etc/x"} {
		if err := r.Folder(path); err == nil {
			t.Errorf("a folder %q can be removed", path)
		}
		if err := r.Cgroup(path); err == nil {
			t.Errorf("a cgroup %q can be removed", path)
		}
	}
}

func TestRemoveTakesEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mine")
	r, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "others")
	if err := errors.Join(r.Folder(dir), os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755), os.Mkdir(other, 0o755), os.Symlink(other, filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	sleep := exec.Command("sleep", "600")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	if err := r.Process(sleep.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(); err != nil {
		t.Error(err)
	}
	if err := sleep.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the process ended with %v, want that it was killed", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("what a link in the folder points to is gone: %v", err)
	}
	if err := r.Folder(dir); err == nil {
		t.Error("a remover that has ended takes more work")
	}
}

func TestProcessIsNotTakenForAnother(t *testing.T) {
	sleep := exec.Command("sleep", "600")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleep.Process.Kill()
		_ = sleep.Wait() // it was killed
	}()
	r, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	// The start time is another one, as if the id had been given to another process
	// since.
	if err := r.tell("process", fmt.Sprint(sleep.Process.Pid, " 1")); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(sleep.Process.Pid, 0); err != nil {
		t.Errorf("another process was killed: %v", err)
	}
}

// victim is an environment variable. If it is set, this test is the program that is
// killed. It holds the folder to make.
const victim = "REMOVER_TEST_VICTIM"

func TestRemoverOutlivesItsProgram(t *testing.T) {
	if dir := os.Getenv(victim); dir != "" {
		r, err := Start()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.Folder(dir), os.Mkdir(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
		fmt.Println("made it")
		select {} // until it is killed
	}
	dir := filepath.Join(t.TempDir(), "mine")
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), victim+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "made it"; {
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = lab.Poll(ctx, "the folder of a killed program to go", func(context.Context) error {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
