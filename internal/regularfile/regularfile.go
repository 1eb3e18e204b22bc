// SPDX-License-Identifier: Apache-2.0

// Package regularfile reads files that an operator has named. Such a path may have a named
// pipe or a device in its place, whose read waits or never ends.
//
// It reads regular files only, up to MaxSize bytes, and never waits for a writer. It follows
// symbolic links, by which Kubernetes mounts files. It does not interpret the content.
//
//	data, err := regularfile.Read(path)
package regularfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// MaxSize is the greatest size of a file in bytes. It is that of a ConfigMap or a Secret. A
// bundle with every public CA has a quarter of that.
const MaxSize = 1 << 20

// ErrTooLarge is the cause of the error for a file of more than MaxSize bytes.
var ErrTooLarge = fmt.Errorf("it is larger than %d bytes; name another file", MaxSize)

// Read returns the content of a file. Its errors are of type [*fs.PathError]. What is no
// regular file has an error that says what it is.
func Read(path string) ([]byte, error) {
	refuse := func(why error) error { return &fs.PathError{Op: "read", Path: path, Err: why} }
	// Without O_NONBLOCK, open waits until a named pipe has a writer (open(2)).
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errors.Is(err, syscall.ENXIO) { // a socket, or a device without a driver
		return nil, refuse(errors.New("it is a socket or a device; name a regular file"))
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return nil, refuse(syscall.EISDIR)
	case info.Mode()&fs.ModeNamedPipe != 0:
		return nil, refuse(errors.New("it is a named pipe; name a regular file"))
	case !info.Mode().IsRegular():
		return nil, refuse(errors.New("it is a device; name a regular file"))
	}
	data, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err == nil && len(data) > MaxSize {
		return nil, refuse(ErrTooLarge)
	}
	return data, err
}
