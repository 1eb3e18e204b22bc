// SPDX-License-Identifier: Apache-2.0

// Package release tests what `make release` makes from a clone of the repository. Its
// module brings syft as a tool, which lists the parts of an image.
package release
