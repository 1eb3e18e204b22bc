// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"fmt"
	"os"
	"strings"
)

// checkUsers refuses a uid that does not exist in this process's user namespace, such as
// one above 65535 in a pod with hostUsers: false. For a rule with such a uid, the kernel
// says only EINVAL (owner_check of net/netfilter/xt_owner.c).
func checkUsers(cfg Config) error {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return nil //nolint:nilerr // a kernel without user namespaces has all uids
	}
	for i, uid := range append([]uint32{cfg.ProxyUID}, cfg.ExcludeUIDs...) {
		if isMapped(string(text), uid) {
			continue
		}
		field := "ProxyUID"
		if i > 0 {
			field = "ExcludeUIDs"
		}
		return &ConfigError{field, fmt.Sprint(uid), "does not exist in this pod's user namespace (hostUsers: false gives it the uids 0 to 65535; /proc/self/uid_map): " +
			"nothing in the pod can run as it; choose a uid that exists there"}
	}
	return nil
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
