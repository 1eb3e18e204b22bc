// SPDX-License-Identifier: Apache-2.0

package chromium

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

const hang = time.Minute

// started starts Chromium with a tab, and returns it with the folder of its profile.
func started(t *testing.T, l *lab.Lab, name string) (*Browser, string) {
	t.Helper()
	dir := filepath.Join(l.Dir, name)
	b, err := Start(labtest.Context(t, hang), l.Pod, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(labtest.Context(t, hang), View{Width: 400, Height: 400}); err != nil {
		t.Fatal(err)
	}
	if n := processes(dir); n < 2 {
		t.Fatalf("%d processes have the profile in their command line, want 2 or more: the test counts wrongly", n)
	}
	return b, dir
}

// processes returns how many processes have a text in their command line.
func processes(text string) int {
	n := 0
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is well formed
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(text)) {
			n++
		}
	}
	return n
}

func wantNone(t *testing.T, dir string) {
	t.Helper()
	labtest.Eventually(t, hang, "Chromium's processes to end", func(context.Context) error {
		if n := processes(dir); n > 0 {
			return fmt.Errorf("%d are there", n)
		}
		return nil
	})
}

// All processes of Chromium end: if a test closes it, if the test is killed, which closes
// the pipe, and if Chromium itself crashes. Its profile goes with the lab.
func TestChromiumEnds(t *testing.T) {
	labtest.RequireRoot(t)
	labtest.Require(t, Available())
	l, _ := labtest.New(t, lab.Options{})
	closed, dir := started(t, l, "closed")
	if err := closed.Close(); err != nil {
		t.Errorf("close Chromium: %v", err)
	}
	if n := processes(dir); n > 0 {
		t.Errorf("%d processes are there after Close", n)
	}

	left, dir := started(t, l, "left")
	if err := left.toIt.Close(); err != nil {
		t.Error(err)
	}
	wantNone(t, dir)
	if err := left.call(labtest.Context(t, hang), "", "Browser.getVersion", nil, nil); err == nil {
		t.Error("a command to a Chromium that has ended succeeds")
	}

	crashed, dir := started(t, l, "crashed")
	crashed.process.Kill()
	wantNone(t, dir)
	if err := crashed.Close(); err != nil {
		t.Errorf("close a Chromium that has crashed: %v", err)
	}
}
