// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Available returns why this machine cannot run the clusters, or nil. Its argument is the
// folder of [Options].
func Available(binaries string) error {
	if os.Geteuid() != 0 {
		return errors.New("clusters need root for their namespaces: run it as root")
	}
	for _, program := range []string{"unshare", "nsenter", "ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: `test/setup cluster` installs it", err)
		}
	}
	for _, program := range []string{
		"server", "agent", "kube/etcd", "kube/kube-apiserver", "kube/kubelet", "kube/kubectl",
		"node/containerd", "node/runc", "node/pause", "node/coredns",
	} {
		if _, err := os.Stat(filepath.Join(binaries, program)); err != nil {
			return fmt.Errorf("%w: `make peers cluster-binaries` builds it", err)
		}
	}
	return nil
}
