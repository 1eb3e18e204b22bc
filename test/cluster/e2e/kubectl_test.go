// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
)

// kubectlProcess is a kubectl that runs until the test's end, or until it is stopped. The test
// writes to it and reads its lines. If the test reads none, kubectl soon stops reading
// too.
type kubectlProcess struct {
	what  string
	in    io.Writer
	lines chan string
	stop  func()
}

// startKubectl starts kubectl for a cluster.
func startKubectl(t *testing.T, rig *clustertest.Rig, c *clustertest.Cluster, args ...string) *kubectlProcess {
	t.Helper()
	cmd := exec.Command(filepath.Join(rig.State.Binaries, "kube", "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "KUBECACHEDIR="+filepath.Join(t.TempDir(), "kubectl"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, child, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = child, &stderr
	err = cmd.Start()
	child.Close() // kubectl has its own
	if err != nil {
		t.Fatal(err)
	}
	d := &kubectlProcess{what: "kubectl " + strings.Join(args, " "), in: in, lines: make(chan string)}
	stopped := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(d.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			select {
			case d.lines <- scanner.Text():
			case <-stopped:
				return
			}
		}
	})
	d.stop = sync.OnceFunc(func() {
		close(stopped)
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // it was killed
		out.Close()
		reading.Wait()
		if t.Failed() {
			t.Logf("%s: %s", d.what, stderr.String())
		}
	})
	t.Cleanup(d.stop)
	return d
}

// send sends a line.
func (d *kubectlProcess) send(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(d.in, line+"\n"); err != nil {
		t.Fatalf("%s: %v", d.what, err)
	}
}

// await waits for a line with a word, and returns the line.
func (d *kubectlProcess) await(t *testing.T, word string) string {
	t.Helper()
	line, err := d.awaitWithin(clustertest.Limit, word)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func (d *kubectlProcess) awaitWithin(limit time.Duration, word string) (string, error) {
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		select {
		case line, more := <-d.lines:
			if !more {
				return "", fmt.Errorf("%s has ended, without %q", d.what, word)
			}
			if strings.Contains(line, word) {
				return line, nil
			}
		case <-late.C:
			return "", errSilent(d.what)
		}
	}
}

// errSilent is the error of a kubectlProcess whose other side says nothing.
type errSilent string

func (e errSilent) Error() string { return string(e) + " says nothing" }

// wantEcho sends a word and waits until it comes back.
func (d *kubectlProcess) wantEcho(t *testing.T) {
	t.Helper()
	word := rand.Text()
	d.send(t, word)
	d.await(t, word)
}
