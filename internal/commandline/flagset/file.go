// SPDX-License-Identifier: Apache-2.0

package flagset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Unreadable returns the error for a file that a flag names and that could not be
// opened or read, with the next step for a person who runs a command.
func Unreadable(flag, path string, err error) error {
	why, _ := fileProblem(err)
	return &UsageError{Flag: flag, Value: path, Problem: "cannot be read: " + why, Err: err}
}

// UnreadableInPod is [Unreadable] for a program that runs in pods, where files come from
// volumes.
func UnreadableInPod(flag, path string, err error) error {
	return &UsageError{Flag: flag, Value: path, Problem: "cannot be read: " + FileProblemInPod(err), Err: err}
}

// FileProblemInPod says why a file could not be opened or read in a pod, with the next
// step.
func FileProblemInPod(err error) string {
	why, inPod := fileProblem(err)
	return why + inPod
}

// fileProblem says why a file could not be opened or read, with the next step. inPod is
// the end of that sentence for a program in a pod.
func fileProblem(err error) (why, inPod string) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file", ", or its volume is not mounted here"
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("permission denied; give uid %d the right to read it", os.Getuid()), " (in a pod: the volume's defaultMode and the pod's fsGroup)"
	case errors.Is(err, syscall.EISDIR):
		return "it is a directory; name the file in it", ""
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error(), "" // the path is in the sentence already
	}
	return err.Error(), ""
}
