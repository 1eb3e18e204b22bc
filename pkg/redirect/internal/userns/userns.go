// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package userns tells which users exist in the user namespace of this process.
//
// It owns the reading of /proc/self/uid_map. It never enters or changes a user namespace.
package userns

import (
	"fmt"
	"os"
	"strings"
)

// HasUser reports whether a uid exists. A kernel without user namespaces has all uids.
func HasUser(uid uint32) bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err != nil || isMapped(string(text), uid)
}

// isMapped looks up a uid in a uid_map (user_namespaces(7)). The result is true if the map
// cannot be read: then the kernel decides.
func isMapped(uidMap string, uid uint32) bool {
	for line := range strings.Lines(uidMap) {
		var first, outside, count uint64
		if _, err := fmt.Sscan(line, &first, &outside, &count); err != nil {
			return true
		}
		if uint64(uid) >= first && uint64(uid) < first+count {
			return true
		}
	}
	return false
}
