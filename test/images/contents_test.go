// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/shoot-proxy/proxy-client/internal/defaults"
)

// TestArchiveNamesItsIndexByTagAndByDigest: a node finds an image under the name in a
// manifest, which may be by tag or by digest.
func TestArchiveNamesItsIndexByTagAndByDigest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(dist(t), "digests"))
	if err != nil {
		t.Fatal(err)
	}
	var digests strings.Builder
	for _, name := range names() {
		a := open(t, name)
		digest, err := a.index.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests.WriteString(name + " " + digest.String() + "\n")
		var got []string
		for _, entry := range a.layout.Manifests {
			if entry.Digest != digest {
				t.Errorf("%s: an entry refers to %s, another to %s", name, entry.Digest, digest)
			}
			got = append(got, entry.Annotations["io.containerd.image.name"])
		}
		version := a.annotations(t)["org.opencontainers.image.version"]
		repository, _, _ := strings.Cut(got[0], ":")
		if !strings.HasSuffix(repository, "/shoot-proxy/"+name) {
			t.Errorf("the repository of %s is %s", name, repository)
		}
		if diff := cmp.Diff([]string{repository + ":" + version, repository + "@" + digest.String()}, got); diff != "" {
			t.Errorf("the names of %s (-want +got):\n%s", name, diff)
		}
		// skopeo selects an image of an archive by this annotation.
		if tag := a.layout.Manifests[0].Annotations["org.opencontainers.image.ref.name"]; tag != version {
			t.Errorf("%s has %q for its tag, want %s", name, tag, version)
		}
		var platforms []string
		for _, d := range a.platforms(t) {
			platforms = append(platforms, d.Platform.String())
		}
		if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, platforms); diff != "" {
			t.Errorf("the platforms of %s (-want +got):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(digests.String(), string(text)); diff != "" {
		t.Errorf("the file digests (-want +got):\n%s", diff)
	}
}

func TestImageSaysWhatItIs(t *testing.T) {
	users := map[string]string{"init-redirect": "0:0", "proxy-client": fmt.Sprintf("%[1]d:%[1]d", defaults.ProxyUID), "proxy-exit": "65532:65532", "webhook": "65532:65532"}
	programs := map[string]string{"init-redirect": "init-redirect", "proxy-client": "/proxy-client", "proxy-exit": "/proxy-exit", "webhook": "/webhook"}
	eachImage(t, func(t *testing.T, name, architecture string, configuration *v1.ConfigFile, image v1.Image) {
		if got := configuration.OS + "/" + configuration.Architecture; got != "linux/"+architecture {
			t.Errorf("the platform is %s", got)
		}
		if got := configuration.Config.User; got != users[name] {
			t.Errorf("the user is %s, want %s", got, users[name])
		}
		if diff := cmp.Diff([]string{programs[name]}, configuration.Config.Entrypoint); diff != "" {
			t.Errorf("the entrypoint (-want +got):\n%s", diff)
		}
		labels := configuration.Config.Labels
		for label, want := range map[string]string{"title": name, "licenses": "Apache-2.0", "source": "https://github.com/shoot-proxy/proxy-client"} {
			if got := labels["org.opencontainers.image."+label]; got != want {
				t.Errorf("label %s is %q, want %q", label, got, want)
			}
		}
		for _, label := range []string{"description", "version", "revision"} {
			if value := labels["org.opencontainers.image."+label]; value == "" || value == "unknown" {
				t.Errorf("label %s is %q", label, value)
			}
		}
		manifest, err := image.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(labels, manifest.Annotations); diff != "" {
			t.Errorf("the annotations of the manifest differ from the labels (-labels +annotations):\n%s", diff)
		}
		if diff := cmp.Diff(labels, open(t, name).annotations(t)); diff != "" {
			t.Errorf("the annotations of the index differ from the labels (-labels +annotations):\n%s", diff)
		}
	})
}

// TestImageHasTheTimeOfItsCommit: if the content depended on the machine or the time of a
// build, each build would have another digest.
func TestImageHasTheTimeOfItsCommit(t *testing.T) {
	eachImage(t, func(t *testing.T, _, _ string, configuration *v1.ConfigFile, image v1.Image) {
		revision := configuration.Config.Labels["org.opencontainers.image.revision"]
		text := run(t, exec.Command("git", "-C", root, "-c", "safe.directory=*", "show", "--no-patch", "--format=%ct", revision))
		seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			t.Fatalf("read the time of commit %s: %v", revision, err)
		}
		want := time.Unix(seconds, 0)
		if !configuration.Created.Equal(want) {
			t.Errorf("created at %s, want the time of commit %s, %s", configuration.Created, revision, want)
		}
		for path, f := range files(t, image) {
			if !f.ModTime.Equal(want) {
				t.Errorf("%s has time %s, want %s", path, f.ModTime, want)
			}
		}
		if configuration.Author != "" || configuration.Container != "" || configuration.Config.Hostname != "" || len(configuration.History) > 0 {
			t.Errorf("the configuration says how it was built: %+v", configuration)
		}
	})
}

func TestImagesAreSmall(t *testing.T) {
	const mega = 1_000_000
	limits := map[string]int64{"init-redirect": 20 * mega, "proxy-client": 14 * mega, "proxy-exit": 14 * mega, "webhook": 35 * mega}
	eachImage(t, func(t *testing.T, name, _ string, _ *v1.ConfigFile, image v1.Image) {
		var size int64
		for _, f := range files(t, image) {
			size += f.Size
		}
		t.Logf("%d bytes", size)
		if size > limits[name] {
			t.Errorf("%d bytes, want at most %d", size, limits[name])
		}
	})
}

// TestImagesHaveNoOtherProgram: the complete list of programs is short. It has no shell,
// no interpreter and no package manager. An update of a package cannot add a program
// unnoticed.
func TestImagesHaveNoOtherProgram(t *testing.T) {
	programs := map[string][]string{"proxy-client": {"proxy-client"}, "proxy-exit": {"proxy-exit"}, "webhook": {"webhook"}, "init-redirect": {"usr/local/bin/init-redirect", "usr/sbin/nft"}}
	for _, backend := range []string{"nft", "legacy"} {
		programs["init-redirect"] = append(programs["init-redirect"], "usr/sbin/xtables-"+backend+"-multi")
		for _, name := range []string{"iptables-", "ip6tables-"} {
			for _, what := range []string{"", "-save", "-restore"} {
				programs["init-redirect"] = append(programs["init-redirect"], "usr/sbin/"+name+backend+what)
			}
		}
	}
	eachImage(t, func(t *testing.T, name, _ string, _ *v1.ConfigFile, image v1.Image) {
		var got []string
		for path, f := range files(t, image) {
			switch {
			case f.Typeflag == tar.TypeDir:
			case strings.Contains(path, ".so"): // a library: debug/elf knows better than the file's mode, but see TestProgramsFindTheirLibraries
			case f.Mode&0o111 != 0 && f.Typeflag == tar.TypeReg, strings.Contains(path, "bin/"):
				got = append(got, path)
			}
			if strings.HasPrefix(string(f.content), "#!") {
				t.Errorf("%s is a script", path)
			}
		}
		slices.Sort(programs[name])
		slices.Sort(got)
		if diff := cmp.Diff(programs[name], got); diff != "" {
			t.Errorf("the programs (-want +got):\n%s", diff)
		}
	})
}

func TestFilesBelongToRootAndOnlyRootMayWrite(t *testing.T) {
	eachImage(t, func(t *testing.T, _, _ string, _ *v1.ConfigFile, image v1.Image) {
		for path, f := range files(t, image) {
			if f.Uid != 0 || f.Gid != 0 {
				t.Errorf("%s belongs to %d:%d", path, f.Uid, f.Gid)
			}
			if f.Typeflag != tar.TypeSymlink && f.Mode&0o7022 != 0 {
				t.Errorf("%s has mode %o", path, f.Mode)
			}
			if f.Typeflag != tar.TypeSymlink && f.Mode&0o444 != 0o444 {
				t.Errorf("%s has mode %o: other users cannot read it", path, f.Mode)
			}
			if !slices.Contains([]byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink}, f.Typeflag) {
				t.Errorf("%s is of type %q", path, f.Typeflag)
			}
		}
	})
}

// TestPackagesComeWithTheirLicences: Debian's packages require that their copyright files
// are included. Those files refer to licences.
func TestPackagesComeWithTheirLicences(t *testing.T) {
	for _, architecture := range architectures() {
		image, _ := open(t, "init-redirect").image(t, architecture)
		all := files(t, image)
		packages := packagesOf(t, architecture)
		for _, p := range packages {
			copyright, ok := all["usr/share/doc/"+p.name+"/copyright"]
			if !ok {
				t.Errorf("%s: package %s has no copyright file", architecture, p.name)
			}
			for _, rest := range strings.Split(string(copyright.content), "/usr/share/common-licenses/")[1:] {
				licence := strings.TrimRight(rest[:strings.IndexFunc(rest+" ", func(r rune) bool { return strings.ContainsRune(" \n\t,'`\")", r) })], ".")
				if _, ok := all["usr/share/common-licenses/"+licence]; !ok && licence != "GPL" { // the newest one, whichever it is
					t.Errorf("%s: the copyright file of %s refers to %s, which the image lacks", architecture, p.name, licence)
				}
			}
			status := string(all["var/lib/dpkg/status.d/"+p.name].content)
			if !strings.Contains(status, "Version: "+p.version+"\n") || !strings.Contains(status, "Architecture: "+architecture+"\n") {
				t.Errorf("%s: scanners do not see %s %s:\n%s", architecture, p.name, p.version, status)
			}
		}
		if want := len(packages); want != len(entries(all, "var/lib/dpkg/status.d")) {
			t.Errorf("%s: scanners see %v, want %d packages", architecture, entries(all, "var/lib/dpkg/status.d"), want)
		}
	}
}

// entries returns the names of the files in a folder.
func entries(all map[string]file, folder string) []string {
	var in []string
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if filepath.Dir(path) == folder {
			in = append(in, filepath.Base(path))
		}
	}
	return in
}
