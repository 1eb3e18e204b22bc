// SPDX-License-Identifier: Apache-2.0

// Package images tests the images that `make images` leaves: what is in them, that
// a second build makes the same bytes, that init-redirect works on the files of its
// image alone, and that containerd takes the archives.
//
// It reads the archives in $IMAGES_DIST and never changes them. It has no code but
// its tests.
package images
