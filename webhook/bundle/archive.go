// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
)

// Limits of an archive, before it is compressed.
const (
	maxTotal = 32 << 20
	maxFile  = 2 << 20
	// margin is more than a key or a token has. Where a long text is cut, so much more is
	// left out, because half a key cannot be recognized.
	margin = 64 << 10
)

// archive writes files into a compressed archive. It removes from each text what looks like
// a key or a token.
type archive struct {
	folder string // of all files in it
	time   time.Time
	zip    *gzip.Writer
	tar    *tar.Writer
	names  []string
	size   int64
}

func newArchive(out io.Writer, folder string, now time.Time) *archive {
	zip := gzip.NewWriter(out)
	return &archive{folder: folder, time: now, zip: zip, tar: tar.NewWriter(zip)}
}

// errFull is the error for a file for which there is no room.
var errFull = errors.New("the archive has its full size")

// add adds a file. Of a file that is too long, the end is kept.
func (a *archive) add(name string, text []byte) error {
	const most = maxFile + margin
	if len(text) <= most {
		text = scrub(text)
	} else {
		text = scrub(text[len(text)-most:])
		text = append([]byte("[the beginning was left out]\n"), text[min(margin, len(text)):]...)
	}
	if a.size+int64(len(text)) > maxTotal {
		return errFull
	}
	return a.write(name, text)
}

// write adds a file also if the archive is full.
func (a *archive) write(name string, text []byte) error {
	a.names, a.size = append(a.names, name), a.size+int64(len(text))
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: a.folder + "/" + name, Size: int64(len(text)), Mode: 0o644, ModTime: a.time.Truncate(time.Second),
	}
	if err := a.tar.WriteHeader(header); err != nil {
		return err
	}
	_, err := a.tar.Write(text)
	return err
}

func (a *archive) close() error { return errors.Join(a.tar.Close(), a.zip.Close()) }

// CheckFile refuses a name that cannot become a bundle, before anything is collected.
func CheckFile(name string) error {
	refuse := func(problem string) error {
		return &flagset.UsageError{Flag: "--bundle", Value: name, Problem: problem}
	}
	switch _, err := os.Lstat(name); {
	case name == "":
		return refuse("is empty: write a file's name, such as bundle.tar.gz")
	case err == nil:
		return refuse("exists, and is not overwritten: move it, or name another file")
	case !errors.Is(err, fs.ErrNotExist):
		return flagset.Unreadable("--bundle", name, err)
	}
	if info, err := os.Stat(filepath.Dir(name)); err != nil || !info.IsDir() {
		return refuse("is in a folder that does not exist: make the folder, or name another file")
	}
	if !strings.HasSuffix(name, ".tar.gz") && !strings.HasSuffix(name, ".tgz") {
		return refuse("is an archive of tar and gzip: write a name that ends in .tar.gz")
	}
	return nil
}

// folderOf returns the folder that a bundle of that name unpacks to.
func folderOf(file string) string {
	base := filepath.Base(file)
	return strings.TrimSuffix(strings.TrimSuffix(base, ".tgz"), ".tar.gz")
}

// atomically writes a file that appears as a whole, or not at all. It replaces no file.
func atomically(name string, write func(io.Writer) error) error {
	file, err := os.CreateTemp(filepath.Dir(name), ".bundle-*") // with mode 0600
	if err != nil {
		return fmt.Errorf("--bundle %q cannot be written: %w", name, err)
	}
	defer os.Remove(file.Name())
	err = write(file)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return fmt.Errorf("--bundle %q: %w", name, err)
	}
	err = os.Link(file.Name(), name) // unlike a rename, it replaces nothing
	if err != nil && !errors.Is(err, fs.ErrExist) {
		// A file system without hard links.
		if err = CheckFile(name); err == nil {
			err = os.Rename(file.Name(), name)
		}
	}
	if err != nil {
		return fmt.Errorf("--bundle %q cannot be written: %w", name, err)
	}
	return nil
}
