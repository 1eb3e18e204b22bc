// SPDX-License-Identifier: Apache-2.0

// Package release tests what `make release` makes, of a clone of the repository. Its
// module brings syft as a tool, which lists what an image is made of.
package release
