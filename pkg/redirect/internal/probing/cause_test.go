// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probing

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestProbesSpeakOfFieldsAndFunctions: a program that imports package redirect does not read
// what package probe says to users of the commands.
func TestProbesSpeakOfFieldsAndFunctions(t *testing.T) {
	theirs := "run `init-redirect apply`; proxy-client's --shoot-pod-cidr differs"
	for _, err := range []error{
		unix.ECONNREFUSED, unix.ECONNRESET, probe.ErrSilent, unix.ENETUNREACH, unix.EADDRNOTAVAIL, unix.EAFNOSUPPORT, unix.EHOSTUNREACH, unix.ETIMEDOUT,
	} {
		if cause := causeOf(&probe.Error{Err: err, Cause: theirs}); cause == "" || strings.Contains(cause, "init-redirect") || strings.Contains(cause, "--") {
			t.Errorf("%v: %q", err, cause)
		}
	}
	if cause := causeOf(&probe.Error{Err: unix.EMFILE, Cause: probe.Unexplained}); !strings.Contains(cause, "redirect.Dump") {
		t.Errorf("a failure without a likely cause: %q", cause)
	}
}
