// SPDX-License-Identifier: Apache-2.0

package flagset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Root may read every file, so these errors are made up: no file could cause the most
// common one here.
func TestFileProblemTellsWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}, "there is no such file, or its volume is not mounted here"},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, fmt.Sprintf("permission denied; give uid %d the right to read it (in a pod: the volume's defaultMode and the pod's fsGroup)", os.Getuid())},
		{&fs.PathError{Op: "read", Path: "x", Err: syscall.EISDIR}, "it is a directory; name the file in it"},
		{&fs.PathError{Op: "read", Path: "x", Err: syscall.EIO}, "input/output error"},
		{errors.New("something else"), "something else"},
	} {
		if diff := cmp.Diff(tt.want, FileProblemInPod(tt.err)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.err, diff)
		}
	}
}

// TestUnreadableFileOfAPerson: a person who runs a command is told nothing of volumes.
func TestUnreadableFileOfAPerson(t *testing.T) {
	for want, err := range map[string]error{
		`--filename "x" cannot be read: there is no such file`:                                                         syscall.ENOENT,
		fmt.Sprintf(`--filename "x" cannot be read: permission denied; give uid %d the right to read it`, os.Getuid()): syscall.EACCES,
	} {
		if got := Unreadable("--filename", "x", &fs.PathError{Op: "open", Path: "x", Err: err}).Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if got := UnreadableInPod("--filename", "x", &fs.PathError{Op: "open", Path: "x", Err: err}).Error(); !strings.HasPrefix(got, want) || !strings.Contains(got, "volume") {
			t.Errorf("in a pod: %s", got)
		}
	}
}
