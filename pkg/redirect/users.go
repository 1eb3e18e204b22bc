// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"fmt"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/userns"
)

// checkUsers refuses a uid that does not exist in this process's user namespace, such as
// one above 65535 in a pod with hostUsers: false. For a rule with such a uid, the kernel
// says only EINVAL (owner_check of net/netfilter/xt_owner.c).
func checkUsers(cfg Config) error {
	for i, uid := range append([]uint32{cfg.ProxyUID}, cfg.ExcludeUIDs...) {
		if userns.HasUser(uid) {
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
