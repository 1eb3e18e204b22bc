// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// TestProgramsRunFromTheirImages starts a program of each image with only the image
// around it. It fails if a library or a loader is missing. Two images are left out: the
// program of the sandbox waits for a signal, and the extension serves until it is ended.
func TestProgramsRunFromTheirImages(t *testing.T) {
	labtest.RequireRoot(t)
	testBin := folder(t)
	for name := range recipes() {
		t.Run(name, func(t *testing.T) {
			image, err := New(name, testBin)
			if err != nil {
				t.Fatal(err)
			}
			arguments := []string{"--version"}
			switch name {
			case Sandbox, Extension:
				return
			case CoreDNS:
				arguments = []string{"-version"}
			case Server, Agent, CertManager, Kubectl:
				arguments = []string{"--help"}
			case Busybox:
				arguments = []string{"-c", "wget --help"}
			}
			root := t.TempDir()
			unpack(t, image, root)
			cmd := exec.CommandContext(within(t), image.Entrypoint[0], arguments...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
			cmd.Dir, cmd.Env = "/", image.Env
			if out, err := cmd.CombinedOutput(); err != nil || len(out) == 0 {
				t.Errorf("%v: %v, output %q", cmd.Args, err, out)
			}
		})
	}
}

// TestContainerdImportsArchives imports the archives into a containerd of the test's own,
// as a node of the test clusters does. That containerd checks each digest and unpacks the
// layer.
func TestContainerdImportsArchives(t *testing.T) {
	labtest.RequireRoot(t)
	testBin, ctx := folder(t), within(t)
	names := []string{Sandbox, Busybox, Agent}
	archives, err := Archives(ctx, testBin, names...)
	if err != nil {
		t.Fatal(err)
	}
	ctr := startContainerd(ctx, t, testBin)
	for _, archive := range archives {
		ctr("--namespace", "k8s.io", "images", "import", archive)
	}
	// The command check lists the images whose blobs are all there and which are
	// unpacked.
	images := strings.Fields(ctr("--namespace", "k8s.io", "images", "check", "--quiet"))
	for _, name := range names {
		if !slices.Contains(images, Reference(name)) {
			t.Errorf("containerd has the images %q, not %s", images, Reference(name))
		}
	}
}

// startContainerd returns a function that runs ctr against a containerd that is gone
// after the test. That containerd has no CRI and no plugins that make folders elsewhere.
func startContainerd(ctx context.Context, t *testing.T, testBin string) func(...string) string {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	config := fmt.Sprintf(`version = 3
root = %q
state = %q
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.restart"]
[grpc]
address = %q
[ttrpc]
address = %q
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket, socket+".ttrpc")
	write(t, filepath.Join(dir, "config.toml"), config)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(filepath.Join(testBin, "node", "containerd"), "--config", filepath.Join(dir, "config.toml"))
	daemon.Stdout, daemon.Stderr = log, log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		daemon.Process.Signal(syscall.SIGTERM)
		daemon.Wait()
		log.Close()
		if t.Failed() {
			t.Logf("containerd wrote:\n%s", read(t, log.Name()))
		}
	})
	run := func(arguments ...string) ([]byte, error) {
		return exec.CommandContext(ctx, filepath.Join(testBin, "node", "ctr"), append([]string{"--address", socket}, arguments...)...).CombinedOutput()
	}
	for {
		if _, err := run("version"); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatal("containerd does not answer")
		case <-time.After(50 * time.Millisecond):
		}
	}
	return func(arguments ...string) string {
		t.Helper()
		out, err := run(arguments...)
		if err != nil {
			t.Fatalf("ctr %q: %v: %s", arguments, err, out)
		}
		return string(out)
	}
}

// folder returns test/bin of the repository.
func folder(t *testing.T) string {
	t.Helper()
	_, testBin, err := lab.FindBinaries()
	if err != nil {
		t.Fatal(err)
	}
	return testBin
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// unpack writes the image's layer to the folder root.
func unpack(t *testing.T, image Image, root string) {
	t.Helper()
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(writeLayer(writer, image.Files)) }()
	defer reader.Close()
	archive := tar.NewReader(reader)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			err = unpackEntry(filepath.Join(root, header.Name), header, archive)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func unpackEntry(name string, header *tar.Header, content io.Reader) error {
	switch header.Typeflag {
	case tar.TypeDir:
		return os.Mkdir(name, header.FileInfo().Mode())
	case tar.TypeSymlink:
		return os.Symlink(header.Linkname, name)
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, header.FileInfo().Mode())
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, content); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func octal(mode int64) string { return strconv.FormatInt(mode, 8) }
