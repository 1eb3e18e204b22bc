// SPDX-License-Identifier: Apache-2.0

package release

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"debug/macho"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
)

const (
	root = "../.."

	// version differs from the version in the sources. A place that the release does not
	// change is therefore visible.
	version  = "0.2.0-rc.1"
	registry = "registry.example/team"
)

var (
	programs      = []string{"proxy-client", "webhook", "init-redirect", "proxy-exit"}
	architectures = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
)

// plugin is kubectl's. It is in no image, and there is one for macOS too.
const plugin = "kubectl-shoot_proxy"

// pluginPlatforms are the platforms of the plugin.
func pluginPlatforms() []string {
	var all []string
	for arch := range architectures {
		all = append(all, "linux-"+arch, "darwin-"+arch)
	}
	return all
}

// TestRelease checks the content of a release, and that two people who make it get the
// same.
func TestRelease(t *testing.T) {
	netnstest.RequireRoot(t)
	first, second := newTree(t), newTree(t)
	first.release(t)
	elsewhere := filepath.Join(t.TempDir(), "made", "elsewhere")
	second.release(t, "DIST="+elsewhere)
	dist := first.dist()

	t.Run("reproducible", func(t *testing.T) {
		if diff := cmp.Diff(hashes(t, dist), hashes(t, elsewhere)); diff != "" {
			t.Errorf("two releases of one commit differ, in the SHA-256 of (-first +second):\n%s", diff)
		}
	})
	t.Run("only where DIST says", func(t *testing.T) {
		if _, err := os.Stat(second.dist()); !os.IsNotExist(err) {
			t.Errorf("make release DIST=%s makes %s (%v)", elsewhere, second.dist(), err)
		}
		if left, err := filepath.Glob(filepath.Join(filepath.Dir(elsewhere), ".dist-*")); err != nil || len(left) != 0 {
			t.Errorf("beside the release is left %q (%v)", left, err)
		}
	})
	t.Run("complete", func(t *testing.T) { checkFiles(t, dist) })
	t.Run("documents", func(t *testing.T) { checkDocuments(t, dist) })
	t.Run("binaries", func(t *testing.T) { checkBinaries(t, dist) })
	images := openImages(t, dist)
	t.Run("images have the binaries", func(t *testing.T) { checkPrograms(t, dist, images) })
	t.Run("charts", func(t *testing.T) { checkCharts(t, first, images) })
	t.Run("manifests", func(t *testing.T) { checkManifests(t, first, images) })
	t.Run("sbom", func(t *testing.T) { checkSBOMs(t, dist, images) })
	t.Run("publish", func(t *testing.T) { checkPublishing(t, first, images) })

	t.Run("a failure leaves the previous release", func(t *testing.T) {
		before := hashes(t, dist)
		first.write(t, "webhook/cmd/webhook/broken.go", "// SPDX-License-Identifier: Apache-2.0\n\npackage main\n\nvar broken = undefined\n")
		first.commit(t)
		if output, err := first.try(t, "VERSION="+version); err == nil {
			t.Fatalf("a program that does not compile is released:\n%s", output)
		}
		if diff := cmp.Diff(before, hashes(t, dist)); diff != "" {
			t.Errorf("a release that failed changed the previous one (-before +after):\n%s", diff)
		}
		if left, _ := filepath.Glob(filepath.Join(string(first), ".dist-*")); len(left) != 0 {
			t.Errorf("a release that failed leaves %q", left)
		}
	})
}

// TestMakeTestWritesNoReleaseOfAPerson: a release that a person has made is still there
// after make test.
func TestMakeTestWritesNoReleaseOfAPerson(t *testing.T) {
	netnstest.RequireRoot(t)
	tree := newTree(t)
	commands, err := tree.make(t, "--dry-run", "test")
	if err != nil {
		t.Fatalf("make --dry-run test: %v\n%s", err, commands)
	}
	own := filepath.Join(string(tree), "test/bin") + "/"
	used := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)\b(\w*DIST)='?([^'\s]+)`).FindAllStringSubmatch(commands, -1) {
		variable, folder := match[1], match[2]
		if !filepath.IsAbs(folder) {
			folder = filepath.Join(string(tree), folder)
		}
		used[variable] = true
		if !strings.HasPrefix(folder, own) {
			t.Errorf("make test writes to or reads from %s, because of %s", folder, match[0])
		}
	}
	if !used["DIST"] || !used["IMAGES_DIST"] || !used["LAB_DIST"] {
		t.Errorf("make test says for %v where releases are: want it of the release, the images, and the tests in clusters", used)
	}
}

// checkFiles compares the files of a release with what docs/release.md says, and the
// checksums with sha256sum.
func checkFiles(t *testing.T, dist string) {
	want := []string{
		"SHA256SUMS", "proxy-client-" + version + ".tgz", "proxy-exit-" + version + ".tgz", "images/digests",
		"deploy/kustomization.yaml", "deploy/namespace.yaml", "deploy/webhook.yaml", "deploy/config.yaml",
		"README.md", "CHANGELOG.md", "LICENSE",
	}
	for _, folder := range []string{"docs", "examples"} {
		for name := range hashes(t, filepath.Join(root, folder)) {
			want = append(want, folder+"/"+name)
		}
	}
	for _, program := range programs {
		want = append(want, "images/"+program+".tar")
		for arch := range architectures {
			want = append(want, "bin/"+program+"-linux-"+arch, "sbom/"+program+"-linux-"+arch+".cdx.json")
		}
	}
	for _, platform := range pluginPlatforms() {
		want = append(want, "bin/"+plugin+"-"+platform, "sbom/"+plugin+"-"+platform+".cdx.json")
	}
	got := hashes(t, dist)
	for _, name := range want {
		if _, ok := got[name]; !ok {
			t.Errorf("the release has no %s", name)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("the release has %s, which docs/release.md does not explain", name)
	}

	sums := read(t, filepath.Join(dist, "SHA256SUMS"))
	if got := strings.Count(sums, "\n"); got != len(want)-1 {
		t.Errorf("SHA256SUMS has %d lines, and there are %d other files", got, len(want)-1)
	}
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	check.Dir = dist
	if output, err := check.CombinedOutput(); err != nil {
		t.Errorf("sha256sum --check: %v\n%s", err, output)
	}
}

// checkBinaries checks each program alone.
func checkBinaries(t *testing.T, dist string) {
	for _, program := range append([]string{plugin}, programs...) {
		for arch, machine := range architectures {
			path := filepath.Join(dist, "bin", program+"-linux-"+arch)
			file, err := elf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if file.Machine != machine {
				t.Errorf("%s is for %v", path, file.Machine)
			}
			for _, segment := range file.Progs {
				if segment.Type == elf.PT_INTERP {
					t.Errorf("%s is not static: it wants an interpreter", path)
				}
			}
			if err := file.Close(); err != nil {
				t.Error(err)
			}
			checkText(t, dist, path)
			if arch != runtime.GOARCH {
				continue
			}
			output, err := exec.CommandContext(t.Context(), path, "version").Output()
			if got, want := string(output), program+" "+version+"\n"; err != nil || got != want {
				t.Errorf("%s version prints %q, error %v, and not %q", path, got, err, want)
			}
		}
	}
	for arch, cpu := range map[string]macho.Cpu{"amd64": macho.CpuAmd64, "arm64": macho.CpuArm64} {
		path := filepath.Join(dist, "bin", plugin+"-darwin-"+arch)
		file, err := macho.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if file.Cpu != cpu || file.Type != macho.TypeExec {
			t.Errorf("%s is a %v for %v", path, file.Type, file.Cpu)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
		checkText(t, dist, path)
	}
}

// checkText expects a program to know its version, and not to know where it was built.
func checkText(t *testing.T, dist, path string) {
	t.Helper()
	text := []byte(read(t, path))
	if !bytes.Contains(text, []byte(version)) {
		t.Errorf("%s does not know its version", path)
	}
	if bytes.Contains(text, []byte(filepath.Dir(filepath.Dir(dist)))) {
		t.Errorf("%s names the folder in which it was built", path)
	}
}

// product is the root module. The webhook's is below it.
const product = "github.com/shoot-proxy/proxy-client"

// modules returns the modules in a program, with versions, as `go version -m` lists
// them. Modules of this repository have the version of the release.
func modules(t *testing.T, path string) map[string]string {
	t.Helper()
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{info.Main.Path: "v" + version}
	for _, module := range info.Deps {
		if module.Path == product {
			all[product] = "v" + version
			continue // the webhook's module replaces it with the folder above
		}
		if module.Replace != nil {
			t.Errorf("%s: module %s is replaced", path, module.Path)
		}
		all[module.Path] = module.Version
	}
	if len(all) < 5 {
		t.Fatalf("%s is made of %d modules, which cannot be", path, len(all))
	}
	return all
}

// TestReleaseIsRefused: a tree that cannot become a release is refused in one sentence,
// before anything is built.
func TestReleaseIsRefused(t *testing.T) {
	netnstest.RequireRoot(t)
	tree := newTree(t)
	for _, bad := range []string{"", "v0.1.0", "0.1", "0.1.0.0", "01.1.0", "0.1.0-", "0.1.0-a..b", "0.1.0-01", "0.1.0+dirty", "0.1.0 ", "latest", "0.1.0;id"} {
		tree.refused(t, "VERSION="+bad+" is no version: ", "VERSION="+bad)
	}
	for _, bad := range []string{"https://registry.example", "registry.example/", "Registry.example", "registry.example:port", "a b"} {
		tree.refused(t, "REGISTRY="+bad+" is no registry: ", "VERSION=0.1.0", "REGISTRY="+bad)
	}
	for i, kept := range []string{"notes.txt", ".hidden", "bin/mine", "images/mine", "SHA256SUMS/mine", "two words"} {
		dist := fmt.Sprintf("kept/%d", i)
		tree.write(t, filepath.Join(dist, kept), "of a person")
		tree.refused(t, "DIST="+dist+" has ", "VERSION=0.1.0", "DIST="+dist)
		if got := read(t, filepath.Join(string(tree), dist, kept)); got != "of a person" {
			t.Errorf("a release that was refused leaves %s with %q", kept, got)
		}
	}
	for _, bad := range []string{"", "two words"} {
		output, err := tree.try(t, "VERSION=0.1.0", "DIST="+bad)
		if want := "DIST='" + bad + "' is not one word: "; err == nil || !strings.Contains(output, want) {
			t.Errorf("make release DIST='%s' says %q, error %v, and not %q", bad, output, err, want)
		}
	}
	tree.refused(t, "DIST=README.md is a file: ", "VERSION=0.1.0", "DIST=README.md")
	if err := os.RemoveAll(filepath.Join(string(tree), "kept")); err != nil {
		t.Fatal(err)
	}
	tree.write(t, "README.md", "changed")
	tree.write(t, "cmd/new.go", "package cmd")
	tree.refused(t, "these changes are not committed, so nobody else could make this release.", "VERSION=0.1.0")
	if err := os.RemoveAll(filepath.Join(string(tree), ".git")); err != nil {
		t.Fatal(err)
	}
	tree.refused(t, "this is no clone of the repository", "VERSION=0.1.0")
	for _, name := range []string{"dist", "test/bin"} {
		if _, err := os.Stat(filepath.Join(string(tree), name)); err == nil {
			t.Errorf("releases that were refused leave %s", name)
		}
	}
}
