// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
)

// Images are the images of the two containers.
type Images struct{ ProxyClient, InitRedirect string }

// CheckImage returns what is wrong with an image that no container runtime would pull.
func CheckImage(image string) error {
	switch {
	case image == "":
		return errors.New("is empty: write an image, such as registry.example/name:v1.0.0")
	case !imageName.MatchString(image):
		return errors.New("is not an image: write one such as registry.example/name:v1.0.0")
	default:
		return nil
	}
}

// imageName matches what a container runtime accepts: a registry, a path in lower case,
// a tag and a digest. Only the path is required.
var imageName = regexp.MustCompile(`^(([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(:[0-9]+)?/)?` +
	`[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*` +
	`(:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,})?$`)

// ImagesInUse returns the images for pods of a webhook with a configuration, image
// flags and a version.
func ImagesInUse(defaults *Config, given Images, version string) Images {
	r := Request{Pod: &corev1.Pod{}, Defaults: defaults, Images: given, Version: version}
	s, refusal := r.settings()
	if refusal != nil { // only annotations are refused
		panic(refusal.Message)
	}
	return Images{ProxyClient: s.Images.ProxyClient, InitRedirect: s.Images.InitRedirect}
}

// tag matches a valid image tag (OCI distribution specification, "Pulling manifests").
var tag = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// defaultImage returns the name of a program's image in a release of that version.
func defaultImage(program, version string) string {
	version, _, _ = strings.Cut(version, "+") // build metadata: +dirty
	if version == commandline.UnknownVersion || !tag.MatchString(version) {
		version = "latest"
	}
	return "shoot-proxy/" + program + ":" + version
}
