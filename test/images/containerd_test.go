// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
)

// containerd is a daemon with folders of its own.
type containerd struct {
	folder string // with the programs
	socket string
}

// startContainerd starts a containerd that ends with the test. It does not have the part
// for Kubernetes.
func startContainerd(t *testing.T) containerd {
	t.Helper()
	netnstest.RequireRoot(t)
	programs, err := filepath.Abs(filepath.Join(root, "test", "bin", "node"))
	if err != nil {
		t.Fatal(err)
	}
	state, err := os.MkdirTemp("", "containerd-") // a short path: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(state); err != nil {
			t.Errorf("containerd left what cannot be removed: %v", err)
		}
	})
	c := containerd{folder: programs, socket: filepath.Join(state, "containerd.sock")}
	configuration := fmt.Sprintf(`version = 3
root = "%[1]s/root"
state = "%[1]s/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
[grpc]
address = "%[2]s"
[ttrpc]
address = "%[2]s.ttrpc"
`, state, c.socket)
	if err := os.WriteFile(filepath.Join(state, "config.toml"), []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(state, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(state, "ready.sock"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	// Its mounts are its own, and it does not outlive a test that was killed.
	cmd := exec.Command("unshare", "--mount", "setpriv", "--pdeathsig", "KILL", filepath.Join(programs, "containerd"), "--config", filepath.Join(state, "config.toml"))
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(state, "ready.sock")) // sd_notify(3)
	cmd.Stdout, cmd.Stderr = log, log
	// The thread that starts containerd is its parent. containerd gets a signal when that
	// thread dies.
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start containerd: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
		_ = ready.Close() // ends the wait for readiness
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	if err := ready.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	message := make([]byte, 4096)
	for n := 0; !strings.Contains(string(message[:n]), "READY=1"); {
		if n, err = ready.Read(message); err != nil {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("wait for containerd: %v\n%s", err, text)
		}
	}
	return c
}

// ctr runs a command of ctr in Kubernetes' namespace.
func (c containerd) ctr(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, exec.Command(filepath.Join(c.folder, "ctr"), append([]string{"--address", c.socket, "--namespace", "k8s.io"}, args...)...))
}

// wantedNames returns the names that manifests may use for our images.
func wantedNames(t *testing.T) (want []string) {
	t.Helper()
	for _, name := range names() {
		for _, entry := range open(t, name).layout.Manifests {
			want = append(want, entry.Annotations["io.containerd.image.name"])
		}
	}
	slices.Sort(want)
	return want
}

// check compares the images that containerd has complete with the wanted ones.
func (c containerd) check(t *testing.T) {
	t.Helper()
	var got []string
	for line := range strings.Lines(c.ctr(t, "images", "check")) {
		fields := strings.Fields(line)
		if fields[0] == "REF" || strings.HasPrefix(fields[0], "import-") { // kind's own names
			continue
		}
		if !strings.Contains(line, "complete (2/2)") || fields[len(fields)-1] != "true" {
			t.Errorf("not complete and unpacked: %s", line)
		}
		got = append(got, fields[0])
	}
	slices.Sort(got)
	if diff := cmp.Diff(wantedNames(t), got); diff != "" {
		t.Errorf("the images in containerd (-want +got):\n%s", diff)
	}
}

func TestContainerdImportsTheArchives(t *testing.T) {
	c := startContainerd(t)
	for _, name := range names() {
		c.ctr(t, "images", "import", filepath.Join(dist(t), name+".tar"))
	}
	c.check(t)
}

// TestLoadIntoACluster: the commands kind and k3s are not available here. Their
// substitutes do the last step of each, in a node's containerd.
func TestLoadIntoACluster(t *testing.T) {
	images, err := filepath.Abs(dist(t))
	if err != nil {
		t.Fatal(err)
	}
	for target, stub := range map[string]string{
		// kind loads an archive in this way: it asks for all platforms and for names by
		// digest.
		"kind": `[ "$*" = "load image-archive $3 --name test" ] && exec "$CTR" --address "$SOCKET" --namespace=k8s.io images import --all-platforms --digests --snapshotter=overlayfs - <"$3"`,
		"k3s":  `[ "$1" = ctr ] && shift && exec "$CTR" --address "$SOCKET" "$@"`,
	} {
		t.Run(target, func(t *testing.T) {
			c := startContainerd(t)
			command := filepath.Join(t.TempDir(), target)
			if err := os.WriteFile(command, []byte("#!/bin/bash\n"+stub+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("make", "--no-print-directory", "-C", root, "load-"+target, "DIST="+filepath.Dir(images), "KIND_CLUSTER=test", "K3S="+command)
			cmd.Env = append(os.Environ(), "KIND="+command, "CTR="+filepath.Join(c.folder, "ctr"), "SOCKET="+c.socket)
			run(t, cmd)
			c.check(t)
		})
	}
}

func TestLoadWithoutImages(t *testing.T) {
	cmd := exec.Command(filepath.Join(root, "images", "load"), "kind")
	cmd.Env = append(os.Environ(), "IMAGES_DIST="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "make images") {
		t.Errorf("without images: %v\n%s", err, out)
	}
}
