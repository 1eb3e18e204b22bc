// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// machines returns the machine field of an ELF header for each architecture (elf(5)).
func machines() map[string]elf.Machine {
	return map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
}

// resolve finds a file as the kernel does, folder by folder, through the links of the
// image.
func resolve(all map[string]file, name string) (file, bool) {
	at, rest := "", strings.Split(name, "/")
	for range 100 { // more steps than any path has, including links
		if len(rest) == 0 {
			f, ok := all[at]
			return f, ok
		}
		next := path.Join(at, rest[0])
		rest = rest[1:]
		f := all[next]
		if f.Typeflag != tar.TypeSymlink {
			at = next
			continue
		}
		if path.IsAbs(f.Linkname) {
			at = ""
		}
		rest = append(strings.Split(strings.Trim(f.Linkname, "/"), "/"), rest...)
	}
	return file{}, false
}

// TestProgramsFindTheirLibraries: a program for another machine, or one whose library is
// missing, is detected. This also works if this machine cannot run it.
func TestProgramsFindTheirLibraries(t *testing.T) {
	eachImage(t, func(t *testing.T, _, architecture string, _ *v1.ConfigFile, image v1.Image) {
		all := files(t, image)
		found := 0
		for name, f := range all {
			if !bytes.HasPrefix(f.content, []byte(elf.ELFMAG)) {
				continue
			}
			found++
			program, err := elf.NewFile(bytes.NewReader(f.content))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if program.Machine != machines()[architecture] {
				t.Errorf("%s is for %s, want %s", name, program.Machine, machines()[architecture])
			}
			for _, library := range needed(t, name, program) {
				if _, ok := lookUp(all, library); !ok {
					t.Errorf("%s needs %s, which the image lacks", name, library)
				}
			}
		}
		if found == 0 {
			t.Error("there is no program")
		}
	})
}

// needed returns the libraries of a program, and the path of its loader.
func needed(t *testing.T, name string, program *elf.File) []string {
	t.Helper()
	libraries, err := program.ImportedLibraries()
	if err != nil {
		t.Fatalf("%s: read the libraries that it needs: %v", name, err)
	}
	if s := program.Section(".interp"); s != nil {
		text, err := s.Data()
		if err != nil {
			t.Fatalf("%s: read its loader: %v", name, err)
		}
		libraries = append(libraries, strings.Trim(strings.TrimRight(string(text), "\x00"), "/"))
	}
	return libraries
}

// lookUp finds a library where the loader of Debian's C library searches without a cache.
// It also finds a loader at its path.
func lookUp(all map[string]file, library string) (file, bool) {
	if strings.Contains(library, "/") {
		return resolve(all, library)
	}
	for _, folder := range []string{"usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu"} {
		if f, ok := resolve(all, path.Join(folder, library)); ok {
			return f, true
		}
	}
	return file{}, false
}

func TestOurProgramsAreStatic(t *testing.T) {
	eachImage(t, func(t *testing.T, name, _ string, _ *v1.ConfigFile, image v1.Image) {
		where := name
		if name == "init-redirect" {
			where = "usr/local/bin/init-redirect"
		}
		program, err := elf.NewFile(bytes.NewReader(files(t, image)[where].content))
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		if libraries := needed(t, where, program); len(libraries) > 0 {
			t.Errorf("%s needs %v", where, libraries)
		}
	})
}

// TestOurProgramsSayTheirVersion: the tag and the version that the program prints must be
// the same.
func TestOurProgramsSayTheirVersion(t *testing.T) {
	for _, name := range names() {
		image, configuration := open(t, name).image(t, runtime.GOARCH)
		folder := unpack(t, image)
		program := filepath.Join(folder, name)
		if name == "init-redirect" {
			program = filepath.Join(folder, "usr/local/bin/init-redirect")
		}
		want := configuration.Config.Labels["org.opencontainers.image.version"]
		if got := run(t, exec.Command(program, "version")); !strings.Contains(got, want) {
			t.Errorf("%s version says %q, want %q", name, got, want)
		}
	}
}
