// SPDX-License-Identifier: Apache-2.0

package wallclock_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/wallclock"
)

// TestAStepMovesTheWallClockAlone: a step moves the wall clock of the program that was
// built for it. It moves neither the program's monotonic clock nor the test's clocks.
func TestAStepMovesTheWallClockAlone(t *testing.T) {
	dir := t.TempDir()
	module, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "clock")
	if err := wallclock.Build(labtest.Context(t, 5*time.Minute), module, "./testdata/clock", program); err != nil {
		t.Fatal(err)
	}
	clock, err := wallclock.New(filepath.Join(dir, "offset"))
	if err != nil {
		t.Fatal(err)
	}
	ask := start(t, program, clock)
	began := time.Now()
	for _, offset := range []time.Duration{0, time.Hour, 0, -time.Hour, time.Hour} {
		if err := clock.Set(offset); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		wall, ran := ask(t)
		after := time.Now()
		if early, late := before.Add(offset).Unix(), after.Add(offset).Unix(); wall < early || wall > late {
			t.Errorf("with an offset of %s the wall clock is %d, want %d to %d", offset, wall, early, late)
		}
		if ran < 0 || ran > int64(after.Sub(began)/time.Second) {
			t.Errorf("with an offset of %s the program has run for %d s, and the test for %s", offset, ran, after.Sub(began))
		}
	}
}

// start starts the program, and returns a function that asks it for its clocks.
func start(t *testing.T, program string, clock *wallclock.Clock) (ask func(*testing.T) (wall, ran int64)) {
	t.Helper()
	cmd := exec.CommandContext(labtest.Context(t, time.Minute), program)
	cmd.Env = []string{clock.Env()}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // this ends the program
		if err := cmd.Wait(); err != nil {
			t.Errorf("the program ended with %v", err)
		}
	})
	answers := bufio.NewReader(out)
	return func(t *testing.T) (wall, ran int64) {
		t.Helper()
		if _, err := io.WriteString(in, "\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscan(answers, &wall, &ran); err != nil {
			t.Fatal(err)
		}
		return wall, ran
	}
}
