// SPDX-License-Identifier: Apache-2.0

package markdown

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hangGuard ends a test that would wait for ever.
const hangGuard = time.Minute

func newRunner(t *testing.T) (*Runner, string) {
	t.Helper()
	folder := t.TempDir()
	r, err := NewRunner(folder, append(os.Environ(), "GIVEN=by the test"), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, folder
}

func run(t *testing.T, r *Runner, text string) error {
	t.Helper()
	steps, err := Parse("d.md", text).Steps()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hangGuard)
	defer cancel()
	return r.Run(ctx, steps)
}

func consoleOf(lines ...string) string {
	return "```console\n" + strings.Join(lines, "\n") + "\n```\n"
}

func TestCommandsShareAShell(t *testing.T) {
	r, folder := newRunner(t)
	err := run(t, r, "```yaml\n# values.yaml\na: b\n```\n"+consoleOf(
		"$ cat values.yaml", "# values.yaml", "a: b",
		"$ export A=1; f() { echo \"f $1\"; }; cd /",
		"$ f $A; pwd; echo $GIVEN", "f 1", "/", "by the test",
		"$ cat <<END", "> $A", "> END", "1",
		"$ cat", // cat has no input
		"$ echo to standard error >&2", "to standard error",
	))
	if err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(filepath.Join(folder, "values.yaml")); err != nil || string(text) != "# values.yaml\na: b\n" {
		t.Errorf("the file holds %q, error %v", text, err)
	}
}

func TestACommandThatFailsFailsTheDocument(t *testing.T) {
	for name, tc := range map[string]struct{ command, want string }{
		"an exit code":        {"(echo said; exit 3)", "d.md:2: (echo said; exit 3)\nexit code 3\nsaid"},
		"in a pipe":           {"false | cat", "exit code 1"},
		"unknown":             {"no-such-command", "exit code 127"},
		"cannot be read":      {"echo )", "exit code"},
		"the end of the bash": {"exit 0", "the command ended the shell"},
	} {
		t.Run(name, func(t *testing.T) {
			r, folder := newRunner(t)
			err := run(t, r, consoleOf("$ "+tc.command, "$ touch after"))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want %q", err, tc.want)
			}
			if _, err := os.Stat(filepath.Join(folder, "after")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the next command was run: %v", err)
			}
		})
	}
}

func TestSkippedStepsAreNotRun(t *testing.T) {
	r, folder := newRunner(t)
	if err := run(t, r, "<!-- not run: makes a file -->\n"+consoleOf("$ touch file")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(folder, "file")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was run: %v", err)
	}
}

// TestCommandsAreRunUntilTheyPrintWhatIsShown: a command that fails, or does not print
// yet what is shown, is run again.
func TestCommandsAreRunUntilTheyPrintWhatIsShown(t *testing.T) {
	r, _ := newRunner(t)
	err := run(t, r, consoleOf(
		"$ n=0",
		"$ n=$((n + 1)); echo $n; test $n != 2", "3",
		"$ echo $n", "3",
	))
	if err != nil {
		t.Error(err)
	}
}

func TestACommandThatNeverPrintsWhatIsShownFails(t *testing.T) {
	r, folder := newRunner(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // the second attempt ends the command
		defer cancel()
		for ctx.Err() == nil {
			if text, err := os.ReadFile(filepath.Join(folder, "attempts")); err == nil && len(text) > 1 {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	steps, err := Parse("d.md", consoleOf("$ echo -n a >> attempts; echo one", "another")).Steps()
	if err != nil {
		t.Fatal(err)
	}
	err = r.Run(ctx, steps)
	if err == nil || !strings.Contains(err.Error(), "it has to print\nanother\n") {
		t.Errorf("got error %v, want that it has to print something else", err)
	}
}

// TestNothingIsLeftRunning: what a command has started ends with the shell, even if the
// command never ends.
func TestNothingIsLeftRunning(t *testing.T) {
	for name, command := range map[string]string{
		"in the background": "sleep 600 & echo $! > pid",
		"in the foreground": "echo $BASHPID > pid; sleep 600",
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			shell, err := NewShell(folder, os.Environ())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), hangGuard)
			defer cancel()
			var pid int
			read := func() bool {
				text, err := os.ReadFile(filepath.Join(folder, "pid"))
				if err != nil {
					return false
				}
				pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
				return err == nil
			}
			go func() {
				for !read() && ctx.Err() == nil {
					time.Sleep(time.Millisecond)
				}
				cancel()
			}()
			_, _ = shell.Run(ctx, command)
			<-ctx.Done()
			if !read() {
				t.Fatal("the command did not begin")
			}
			if err := shell.Close(); err != nil {
				t.Error(err)
			}
			for deadline := time.Now().Add(hangGuard); running(pid); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("process %d is still there", pid)
				}
			}
		})
	}
}

// running reports whether a process runs. A process that has ended and was not waited for
// does not count.
func running(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(text), ") Z ") && syscall.Kill(pid, 0) == nil
}
