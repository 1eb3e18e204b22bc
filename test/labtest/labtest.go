// SPDX-License-Identifier: Apache-2.0

// Package labtest ties a [lab.Lab] and its targets to a Go test. They are gone when the
// test is. A failed test shows the log of every process.
//
//	l, targets := labtest.New(t, lab.Options{Mode: lab.HTTPConnect})
package labtest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// RequireRoot skips a test visibly unless the process is root, which network namespaces
// need. With REQUIRE_ROOT=1 in the environment, as in CI, it fails the test instead.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("REQUIRE_ROOT") == "1" {
		t.Fatalf("%s needs root, and REQUIRE_ROOT=1 forbids skipping it", t.Name())
	}
	t.Skipf("SKIPPED: %s needs root for its network namespaces; run it as root", t.Name())
}

// Require skips a test visibly if err is not nil: err is the reason why the test cannot
// run. With REQUIRE_ROOT=1 it fails the test instead.
func Require(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv("REQUIRE_ROOT") == "1" {
		t.Fatalf("%s cannot run, and REQUIRE_ROOT=1 forbids skipping it: %v", t.Name(), err)
	}
	t.Skipf("SKIPPED: %s cannot run: %v", t.Name(), err)
}

// New builds a lab with targets in its shoot, for as long as t runs.
func New(t testing.TB, opts lab.Options) (*lab.Lab, *target.Targets) {
	t.Helper()
	RequireRoot(t)
	l, err := lab.New(Context(t, time.Minute), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, crash := range l.Crashes() {
			t.Errorf("a process crashed: %s", crash)
		}
		if t.Failed() {
			t.Logf("the lab's processes said:\n%s", l.Logs())
		}
		if err := l.Close(); err != nil {
			t.Errorf("the lab left something behind: %v", err)
		}
	})
	targets, err := target.Listen(l.Shoot.Listen)
	if err != nil {
		t.Fatal(err)
	}
	l.OnClose(targets.Close)
	return l, targets
}

// Context returns a context that ends after limit. The limit is a guard against hanging,
// not a promise of speed.
func Context(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// Eventually calls condition until it returns nil, and ends the test if that takes longer
// than limit. The limit is a guard against hanging, not a promise of speed. It is for
// conditions that give no event.
func Eventually(t testing.TB, limit time.Duration, what string, condition func(context.Context) error) {
	t.Helper()
	if err := lab.Poll(Context(t, limit), what, condition); err != nil {
		t.Fatal(err)
	}
}
