// SPDX-License-Identifier: Apache-2.0

package regularfile

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWhatIsNotRead: a path that is no regular file, or is too large, has an error at once.
func TestWhatIsNotRead(t *testing.T) {
	folder := t.TempDir()
	path := func(name string) string { return filepath.Join(folder, name) }
	must(t, syscall.Mkfifo(path("pipe"), 0o600))
	must(t, os.Symlink("pipe", path("link")))
	must(t, os.WriteFile(path("large"), make([]byte, MaxSize+1), 0o600))
	socket, err := net.Listen("unix", path("socket"))
	must(t, err)
	defer socket.Close()
	for at, want := range map[string]string{
		path("pipe"):    "it is a named pipe; name a regular file",
		path("link"):    "it is a named pipe; name a regular file",
		path("socket"):  "it is a socket or a device; name a regular file",
		path("large"):   ErrTooLarge.Error(),
		path("nowhere"): "no such file or directory",
		"/dev/zero":     "it is a device; name a regular file",
		folder:          "is a directory",
	} {
		data, err := Read(at)
		of, is := errors.AsType[*fs.PathError](err)
		if !is || data != nil || of.Path != at || of.Err.Error() != want {
			t.Errorf("%s: %d bytes and %v, want %s", at, len(data), err, want)
		}
	}
}

// TestFilesThatAreRead: a file is read through links, up to MaxSize.
func TestFilesThatAreRead(t *testing.T) {
	folder := t.TempDir()
	content := strings.Repeat("x", MaxSize)
	must(t, os.WriteFile(filepath.Join(folder, "file"), []byte(content), 0o600))
	must(t, os.Symlink("file", filepath.Join(folder, "link")))
	for _, name := range []string{"file", "link"} {
		data, err := Read(filepath.Join(folder, name))
		if err != nil || string(data) != content {
			t.Errorf("%s: %d bytes and %v", name, len(data), err)
		}
	}
}
