// SPDX-License-Identifier: Apache-2.0

// Package images tests the images that `make images` makes: their content, and that a
// second build makes the same bytes. It also tests that init-redirect works on only the
// files of its image, and that containerd accepts the archives.
//
// It reads the archives in $IMAGES_DIST and never changes them. It has no code but its
// tests.
package images
