// SPDX-License-Identifier: Apache-2.0

package release

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tree is a folder with a new clone. Its only commit is the repository as it is here,
// including changes that are not committed.
type tree string

func newTree(t *testing.T) tree {
	t.Helper()
	made := tree(t.TempDir())
	list := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	names, err := list.Output()
	if err != nil {
		t.Fatalf("list the files of the repository: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		info, err := os.Stat(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // removed, and the removal is not committed
		}
		if err != nil {
			t.Fatal(err)
		}
		made.write(t, name, read(t, filepath.Join(root, name)))
		if err := os.Chmod(filepath.Join(string(made), name), info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	made.git(t, "init", "--quiet")
	made.commit(t)
	return made
}

func (r tree) dist() string { return filepath.Join(string(r), "dist") }

func (r tree) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(string(r), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// git runs git without the configuration of the user who runs the test, at a time
// that is always the same.
func (r tree) git(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = string(r)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.com", "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z",
		"GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.com", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, output)
	}
}

func (r tree) commit(t *testing.T) {
	t.Helper()
	r.git(t, "add", "--all")
	r.git(t, "commit", "--quiet", "--message", "test")
}

// try runs make release.
func (r tree) try(t *testing.T, variables ...string) (output string, err error) {
	t.Helper()
	return r.make(t, append([]string{"release"}, variables...)...)
}

// make runs make. It uses Go's caches of the machine. It also uses the repository's base
// image of Debian's packages, which takes minutes to make and is in no image.
func (r tree) make(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	cache, err := filepath.Abs(root + "/test/bin/cache/images")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "make", args...)
	cmd.Dir = string(r)
	for _, variable := range os.Environ() {
		switch name, _, _ := strings.Cut(variable, "="); name {
		case "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "VERSION", "REGISTRY", "DIRTY", "DIST", "REVISION", "SOURCE_DATE_EPOCH", "IMAGES_DIST":
			// These are variables of the make that runs this test.
		default:
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, "IMAGES_CACHE="+cache)
	text, err := cmd.CombinedOutput()
	return string(text), err
}

func (r tree) release(t *testing.T, variables ...string) {
	t.Helper()
	if output, err := r.try(t, append(variables, "VERSION="+version, "REGISTRY="+registry)...); err != nil {
		t.Fatalf("make release: %v\n%s", err, output)
	}
}

// refused expects make release to print one sentence and to fail.
func (r tree) refused(t *testing.T, sentence string, variables ...string) {
	t.Helper()
	output, err := r.try(t, variables...)
	if err == nil {
		t.Errorf("make release %q succeeds", variables)
	}
	if !strings.HasPrefix(output, "release: "+sentence) {
		t.Errorf("make release %q says %q, and not %q", variables, output, sentence)
	}
}

// hashes returns the SHA-256 of every file in a folder.
func hashes(t *testing.T, folder string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		all[name], err = hash(file)
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("read the %d files in %s: %v", len(all), folder, err)
	}
	return all
}

func hash(reader io.Reader) (string, error) {
	sum := sha256.New()
	_, err := io.Copy(sum, reader)
	return hex.EncodeToString(sum.Sum(nil)), err
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
