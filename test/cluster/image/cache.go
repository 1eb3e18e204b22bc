// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// layout changes if the same [Image] is written in another way. An older archive is then
// not used.
const layout = "1"

// Archives returns an archive for each of the named images, in that order. It keeps
// them below node/images of the folder test/bin.
func Archives(ctx context.Context, testBin string, names ...string) ([]string, error) {
	archives := make([]string, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0)) // each holds its layer in memory
	for n, name := range names {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			image, err := New(name, testBin)
			if err != nil {
				return err
			}
			archives[n], err = image.Cached(filepath.Join(testBin, "node", "images", name))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return archives, nil
}

// Cached returns the image's archive in a folder that has only archives of this image.
// Its name depends on everything that it is made of. If that has changed, an archive is
// written and the others are removed.
func (i Image) Cached(folder string) (string, error) {
	key, err := i.key()
	if err != nil {
		return "", err
	}
	name := filepath.Join(folder, key+".tar")
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("keep image %s: %w", i.Reference, err)
	}
	if err := i.Write(name); err != nil {
		return "", err
	}
	old, err := filepath.Glob(filepath.Join(folder, "*.tar"))
	if err != nil {
		return "", err
	}
	for _, other := range old {
		if other != name {
			// Another process may have removed it, and it is only a copy.
			os.Remove(other)
		}
	}
	return name, nil
}

// key returns a digest of the image's description and the content of its files. Times of
// modification do not count: go build changes them even if it builds nothing.
func (i Image) key() (string, error) {
	hash := sha256.New()
	description, err := json.Marshal(i)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(hash, "%s %s %d\n%s", layout, runtime.GOARCH, len(description), description)
	for _, file := range i.Files {
		if file.Source == "" {
			continue
		}
		size, err := addFile(hash, file.Source)
		if err != nil {
			return "", fmt.Errorf("image %s: %w", i.Reference, err)
		}
		fmt.Fprintf(hash, "\n%d\n", size)
	}
	return hex.EncodeToString(hash.Sum(nil))[:20], nil
}

func addFile(w io.Writer, name string) (int64, error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	return io.Copy(w, file)
}
