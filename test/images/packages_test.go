// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// locked is a line of images/packages.lock.
type locked struct{ architecture, name, version, hash, path string }

// packagesOf returns the packages in the lock for an architecture.
func packagesOf(t testing.TB, architecture string) []locked {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "images", "packages.lock"))
	if err != nil {
		t.Fatal(err)
	}
	var all []locked
	for line := range strings.Lines(string(text)) {
		var p locked
		if _, err := fmt.Sscan(line, &p.architecture, &p.name, &p.version, &p.hash, &p.path); err != nil {
			t.Fatalf("images/packages.lock: %q: %v", line, err)
		}
		if p.architecture == architecture {
			all = append(all, p)
		}
	}
	return all
}

// TestLockIsTheSameForBothPlatforms: both platforms have the same packages, except for a
// rebuild (+b1) of one.
func TestLockIsTheSameForBothPlatforms(t *testing.T) {
	describe := func(architecture string) (all []string) {
		for _, p := range packagesOf(t, architecture) {
			version, _, _ := strings.Cut(p.version, "+b")
			all = append(all, p.name+" "+version)
		}
		return all
	}
	amd64, arm64 := describe("amd64"), describe("arm64")
	if len(amd64) == 0 || !slices.Equal(amd64, arm64) {
		t.Errorf("amd64 has %q, arm64 %q", amd64, arm64)
	}
}

// rootfs is a copy of images/rootfs with a list of one package. The mirrors are the
// test's own.
type rootfs struct {
	folder string
	wanted locked
	deb    []byte
}

func newRootfs(t *testing.T) rootfs {
	t.Helper()
	if _, err := os.Stat("/usr/lib/apt/apt-helper"); err != nil {
		t.Skipf("SKIPPED: needs apt, as the base image has it: %v", err)
	}
	r := rootfs{folder: t.TempDir()}
	for _, p := range packagesOf(t, runtime.GOARCH) {
		if p.name == "libmnl0" {
			r.wanted = p
		}
	}
	var err error
	if r.deb, err = os.ReadFile(filepath.Join(cache(t), "tmp", "buildah-cache", "debian-packages", r.wanted.hash+".deb")); err != nil {
		t.Fatalf("find a package that the build has downloaded: %v", err)
	}
	run(t, exec.Command("cp", filepath.Join(root, "images", "rootfs"), r.folder))
	r.write(t, "packages", "# why\nlibmnl0 usr/lib/*/libmnl.so.0*\n")
	r.write(t, "packages.lock", strings.Join([]string{runtime.GOARCH, r.wanted.name, r.wanted.version, r.wanted.hash, r.wanted.path}, " ")+"\n")
	return r
}

func (r rootfs) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.folder, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs it with apt configured for a mirror. It returns the folder that it filled, and
// its output.
func (r rootfs) run(t *testing.T, mirror, snapshots string) (folder, output string, err error) {
	t.Helper()
	r.write(t, "sources.list", "deb "+mirror+" bookworm main\n")
	r.write(t, "apt.conf", fmt.Sprintf("Dir::Etc::SourceList %q;\nDir::Etc::SourceParts \"/dev/null\";\nDir::State %q;\nDir::Cache %q;\nAcquire::Retries \"0\";\n",
		filepath.Join(r.folder, "sources.list"), r.folder, r.folder))
	folder = t.TempDir()
	cmd := exec.Command(filepath.Join(r.folder, "rootfs"), runtime.GOARCH, folder, t.TempDir())
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(r.folder, "apt.conf"), "DEBIAN_SNAPSHOT="+snapshots, "no_proxy=127.0.0.1")
	text, err := cmd.CombinedOutput()
	return folder, string(text), err
}

// serve answers requests for one path with content, and others with not found.
func serve(t *testing.T, name string, content []byte) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path.Join("/debian", name) {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(content)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/debian"
}

// TestReplacedPackage: when Debian has replaced a package in the lock, the build says
// what to do. A mirror that keeps everything helps.
func TestReplacedPackage(t *testing.T) {
	r := newRootfs(t)
	empty := serve(t, "nothing", nil)
	if _, output, err := r.run(t, empty, ""); err == nil || !strings.Contains(output, "make images-lock") ||
		!strings.Contains(output, "DEBIAN_SNAPSHOT=") || !strings.Contains(output, r.wanted.name+" "+r.wanted.version) {
		t.Errorf("no mirror has the package: %v\n%s", err, output)
	}
	folder, output, err := r.run(t, empty, serve(t, r.wanted.path, r.deb))
	if err != nil {
		t.Fatalf("a snapshot has the package: %v\n%s", err, output)
	}
	if found, _ := filepath.Glob(filepath.Join(folder, "lib/*/libmnl.so.0")); len(found) != 1 {
		t.Errorf("a snapshot has the package, and yet its library is not there: %v", found)
	}
	// A file with any other content is refused.
	changed := slices.Clone(r.deb)
	changed[len(changed)-1] ^= 1
	if _, output, err := r.run(t, serve(t, r.wanted.path, changed), ""); err == nil || !strings.Contains(output, "Hash Sum mismatch") {
		t.Errorf("a mirror has other bytes: %v\n%s", err, output)
	}
}

// TestPatternWithoutAFile: a pattern that finds no file gives an error, not a smaller
// image. An update that renames a library causes this.
func TestPatternWithoutAFile(t *testing.T) {
	r := newRootfs(t)
	mirror := serve(t, r.wanted.path, r.deb)
	for _, pattern := range []string{"usr/lib/*/libmnl.so.1*", "usr/lib/libmnl.so.0"} {
		r.write(t, "packages", "libmnl0 "+pattern+"\n")
		if _, output, err := r.run(t, mirror, ""); err == nil || !strings.Contains(output, "libmnl0 has no file "+pattern) {
			t.Errorf("pattern %s: %v\n%s", pattern, err, output)
		}
	}
	r.write(t, "packages", "libmnl1 usr/lib/*/libmnl.so.1\n")
	if _, output, err := r.run(t, mirror, ""); err == nil || !strings.Contains(output, "no package libmnl1") || !strings.Contains(output, "make images-lock") {
		t.Errorf("a package that is not in the lock: %v\n%s", err, output)
	}
}
