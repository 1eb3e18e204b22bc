// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	code, stdout, stderr := outcome(t, "", "version")
	if code != 0 || stdout != "webhook v1.2.3\n" || stderr != "" {
		t.Errorf("got exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestHelpIsOnStdoutAndNoFailure(t *testing.T) {
	for command, wants := range map[string][]string{
		"":         {"inject", "uninject", "explain", "version"},
		"inject":   {"--filename", "--config", "--namespace", "--native-sidecar", "--proxy-client-image", "--init-redirect-image"},
		"uninject": {"--filename"},
		"explain":  {"--filename", "--config"},
	} {
		code, stdout, stderr := outcome(t, "", append(strings.Fields(command), "--help")...)
		if code != 0 || stderr != "" {
			t.Errorf("%s: got exit code %d, stderr %q", command, code, stderr)
		}
		for _, want := range wants {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s: the help does not tell of %s", command, want)
			}
		}
	}
}
