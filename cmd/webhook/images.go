// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/webhook"
)

// tag is what an image's tag may be (OCI distribution specification, "Pulling
// manifests").
var tag = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// addImageFlags adds the flags of the images that pods get, by default those of the
// webhook's own version.
func addImageFlags(flags *pflag.FlagSet, images *webhook.Images, version string) {
	version, _, _ = strings.Cut(version, "+") // build metadata: +dirty
	if version == commandline.UnknownVersion || !tag.MatchString(version) {
		version = "latest" // a build outside of version control
	}
	flags.StringVar(&images.ProxyClient, "proxy-client-image", "shoot-proxy/proxy-client:"+version, "image of proxy-client")
	flags.StringVar(&images.InitRedirect, "init-redirect-image", "shoot-proxy/init-redirect:"+version, "image of init-redirect")
}

// checkImages refuses what no container runtime would pull.
func checkImages(images webhook.Images) error {
	for flag, value := range map[string]string{"--proxy-client-image": images.ProxyClient, "--init-redirect-image": images.InitRedirect} {
		switch {
		case value == "":
			return &options.UsageError{Flag: flag, Problem: "is empty: write an image, such as registry.example/name:v1.0.0"}
		case strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
			return &options.UsageError{Flag: flag, Value: value, Problem: "is not an image: write one such as registry.example/name:v1.0.0"}
		}
	}
	return nil
}
