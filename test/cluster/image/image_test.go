// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBuildRefusesFilesThatNoLayerCanHave(t *testing.T) {
	for name, files := range map[string][]File{
		"relative path":         {{Path: "etc/passwd", Content: "x"}},
		"path that leaves":      {{Path: "/../passwd", Content: "x"}},
		"root itself":           {{Path: "/", Mode: fs.ModeDir | 0o755}},
		"twice":                 {{Path: "/a", Content: "x"}, {Path: "/a", Content: "y"}},
		"folder after its file": {{Path: "/a/b", Content: "x"}, {Path: "/a", Mode: fs.ModeDir | 0o700}},
		"file below a file":     {{Path: "/a", Content: "x"}, {Path: "/a/b", Content: "y"}},
		"source is missing":     {{Path: "/a", Source: filepath.Join(t.TempDir(), "missing")}},
		"source is a folder":    {{Path: "/a", Source: t.TempDir()}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := (Image{Reference: Reference("test"), Files: files}).Build(); err == nil {
				t.Error("an image was built")
			}
		})
	}
	if _, err := (Image{}).Build(); err == nil {
		t.Error("an image without a reference was built: no node would find it")
	}
}

// TestLayer reads back what containerd would unpack.
func TestLayer(t *testing.T) {
	source := filepath.Join(t.TempDir(), "source")
	write(t, source, "copied")
	image, err := Image{Reference: Reference("test"), User: "1:2", Entrypoint: []string{"/usr/bin/a"}, Env: []string{"A=b"}, Files: []File{
		{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{Path: "/usr/bin/a", Source: source},
		{Path: "/usr/bin/b", Link: "a"},
		{Path: "/etc/c", Content: "written", Mode: 0o640},
		{Path: "/usr/bin/d", Content: "", Mode: fs.ModeSetuid | 0o755},
	}}.Build()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, error %v, want one layer", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"tmp/ 1777", "usr/ 755", "usr/bin/ 755", "usr/bin/a 755 copied", "usr/bin/b 755 -> a",
		"etc/ 755", "etc/c 640 written", "usr/bin/d 4755",
	}
	if got := list(t, content); !slices.Equal(got, want) {
		t.Errorf("the layer has\n%q, want\n%q", got, want)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; config.OS != "linux" || c.User != "1:2" || !slices.Equal(c.Entrypoint, []string{"/usr/bin/a"}) || !slices.Equal(c.Env, []string{"A=b"}) {
		t.Errorf("the configuration is %+v for %s", c, config.OS)
	}
}

// TestCached proves that an archive is kept as long as it is what would be written.
func TestCached(t *testing.T) {
	folder, source := filepath.Join(t.TempDir(), "images"), filepath.Join(t.TempDir(), "program")
	write(t, source, "first")
	image := Image{Reference: Reference("test"), Files: []File{{Path: "/program", Source: source}}}
	cached := func() string {
		t.Helper()
		name, err := image.Cached(folder)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(folder)
		if err != nil || len(entries) != 1 || filepath.Join(folder, entries[0].Name()) != name {
			t.Fatalf("the folder has %v, error %v, want only %s", entries, err, name)
		}
		return name
	}

	first := cached()
	// This text can only be read again if the archive is kept.
	write(t, first, "kept")
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(source, later, later); err != nil {
		t.Fatal(err)
	}
	if again := cached(); again != first || read(t, again) != "kept" {
		t.Error("another time of modification made another archive")
	}
	write(t, source, "other")
	second := cached()
	if second == first {
		t.Error("another program made no other archive")
	}
	image.User = "1:1"
	third := cached()
	if third == second {
		t.Error("another user made no other archive")
	}
	bytesBefore := read(t, third)
	if err := os.Remove(third); err != nil {
		t.Fatal(err)
	}
	if cached() != third || read(t, third) != bytesBefore {
		t.Error("the same image, written again, has other bytes")
	}
	if err := os.Remove(source); err != nil {
		t.Fatal(err)
	}
	if _, err := image.Cached(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v although the program is gone", err)
	}
}

// list returns a line for each entry of a tar archive, in its order.
func list(t *testing.T, content io.ReadCloser) []string {
	t.Helper()
	defer content.Close()
	var entries []string
	archive := tar.NewReader(content)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if _, err := text.ReadFrom(archive); err != nil {
			t.Fatal(err)
		}
		if header.Linkname != "" {
			text.WriteString("-> " + header.Linkname)
		}
		if header.Uid != 0 || header.Gid != 0 || header.ModTime.Unix() != 0 {
			t.Errorf("%s belongs to %d:%d and is of %v, want root and 1970", header.Name, header.Uid, header.Gid, header.ModTime)
		}
		entries = append(entries, strings.TrimSpace(header.Name+" "+octal(header.Mode)+" "+text.String()))
	}
}
