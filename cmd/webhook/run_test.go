// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/webhook"
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

func TestDefaultImagesHaveATag(t *testing.T) {
	for version, want := range map[string]string{
		"v1.2.3":                 "v1.2.3",
		"v0.0.0-2026-abc+dirty":  "v0.0.0-2026-abc",
		"(devel)":                "latest",
		"unknown":                "latest",
		"":                       "latest",
		strings.Repeat("v", 129): "latest",
	} {
		var images webhook.Images
		addImageFlags(pflag.NewFlagSet("", pflag.ContinueOnError), &images, version)
		if images.ProxyClient != "shoot-proxy/proxy-client:"+want || images.InitRedirect != "shoot-proxy/init-redirect:"+want {
			t.Errorf("of version %q, want tag %s: %+v", version, want, images)
		}
		if err := checkImages(images); err != nil {
			t.Errorf("the default is refused: %v", err)
		}
	}
}
