// SPDX-License-Identifier: Apache-2.0

package wallclock

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// variable is the environment variable with the path of the clock's file. It is not one
// of the product's.
const variable = "STEPPED_WALL_CLOCK"

// Clock is the wall clock of the programs that got its Env.
type Clock struct{ file string }

// New makes the clock's file, which every user may read. The clock is right at first.
func New(file string) (*Clock, error) {
	if err := os.WriteFile(file, make([]byte, 8), 0o644); err != nil {
		return nil, err
	}
	return &Clock{file: file}, os.Chmod(file, 0o644) // independent of the umask
}

// Env returns what the environment of a program must contain.
func (c *Clock) Env() string { return variable + "=" + c.file }

// Set makes the clock fast by this many whole seconds, or slow if the offset is negative.
func (c *Clock) Set(offset time.Duration) error {
	// The file is changed in place, because it is mapped. The eight bytes are written and
	// read as one.
	file, err := os.OpenFile(c.file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	seconds := binary.NativeEndian.AppendUint64(nil, uint64(int64(offset/time.Second)))
	_, err = file.WriteAt(seconds, 0)
	return errors.Join(err, file.Close())
}

// Build builds the command in a folder of the Go module at root, as program out.
func Build(ctx context.Context, root, command, out string) error {
	dir, err := os.MkdirTemp("", "wallclock-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	overlay, err := writeOverlay(ctx, root, command, dir)
	if err != nil {
		return fmt.Errorf("make %s with a wall clock that can be stepped: %w", command, err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-gcflags=all=-dwarf=false", "-buildvcs=false", "-overlay", overlay, "-o", out, command)
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", build, err, output)
	}
	return nil
}

// writeOverlay writes the replacements of source files, and returns the path of the list
// of them.
func writeOverlay(ctx context.Context, root, command, dir string) (list string, err error) {
	env := exec.CommandContext(ctx, "go", "env", "GOROOT")
	env.Dir = root
	goroot, err := env.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", env, err)
	}
	original := filepath.Join(strings.TrimSpace(string(goroot)), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	stepped, err := stepNow(string(text))
	if err != nil {
		return "", fmt.Errorf("%s: %w", original, err)
	}
	replaced := map[string]string{}
	for path, content := range map[string]string{
		original: stepped,
		filepath.Join(root, command, "stepped_wall_clock.go"): fmt.Sprintf(mapping, variable),
	} {
		replaced[path] = filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(replaced[path], []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	all, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	list = filepath.Join(dir, "overlay.json")
	return list, os.WriteFile(list, all, 0o600)
}

// stepNow returns Go's time/time.go with a Now that adds an offset. If the file is not
// the one that it knows, it returns an error.
func stepNow(text string) (string, error) {
	for _, c := range []struct{ old, new string }{
		{"import (\n", "import (\n\t\"sync/atomic\"\n"},
		{
			"func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n",
			"func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n\tif offset := WallOffset.Load(); offset != nil {\n\t\tsec += atomic.LoadInt64(offset)\n\t}\n",
		},
	} {
		if n := strings.Count(text, c.old); n != 1 {
			return "", fmt.Errorf("it has %q %d times, want once: this Go needs another change", c.old, n)
		}
		text = strings.Replace(text, c.old, c.new, 1)
	}
	return text + "\n// WallOffset is added to the seconds of Now.\nvar WallOffset atomic.Pointer[int64]\n", nil
}

// mapping is a file of package main. It ends a program that was started without a clock,
// because such a clock could not be stepped.
const mapping = `package main

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

func init() {
	file, err := os.Open(os.Getenv(%q))
	if err != nil {
		panic(err)
	}
	defer file.Close()
	memory, err := syscall.Mmap(int(file.Fd()), 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	time.WallOffset.Store((*int64)(unsafe.Pointer(&memory[0])))
}
`
