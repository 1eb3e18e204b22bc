// SPDX-License-Identifier: Apache-2.0

package source

import (
	"regexp"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// Accepts reports whether an injected pod with a node selector may run on a node with
// these labels. Injected pods run only on Linux.
func Accepts(labels, selector map[string]string) bool {
	if os, ok := labels[corev1.LabelOSStable]; ok && os != string(corev1.Linux) {
		return false
	}
	for name, value := range selector {
		if has, ok := labels[name]; !ok || has != value {
			return false
		}
	}
	return true
}

// kubeletVersion matches versions such as v1.33.2, with any addition by a vendor.
var kubeletVersion = regexp.MustCompile(`^v?1\.(\d{1,4})(?:\D|$)`)

// KubeletMinor returns the minor version of a kubelet, or 0 if it cannot be read.
func KubeletMinor(version string) int {
	match := kubeletVersion.FindStringSubmatch(version)
	if match == nil {
		return 0
	}
	minor, _ := strconv.Atoi(match[1]) // cannot fail: at most four digits
	return minor
}
