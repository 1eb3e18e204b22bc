// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// binaries are the paths of the programs.
type binaries struct{ etcd, apiServer, controllerManager string }

// Available returns why this machine cannot run a cluster, or nil.
func Available() error {
	_, err := find()
	return err
}

func find() (binaries, error) {
	_, folder, err := lab.FindBinaries()
	if err != nil {
		return binaries{}, err
	}
	etcd := filepath.Join(folder, "kube", "etcd") // from KUBE_BIN, or from make cluster-binaries
	if _, err := os.Stat(etcd); err != nil {
		if etcd, err = exec.LookPath("etcd"); err != nil {
			return binaries{}, errors.New("etcd is not on the PATH: install Debian's package etcd-server, or run `test/setup test`")
		}
	}
	b := binaries{
		etcd:              etcd,
		apiServer:         filepath.Join(folder, "kube", "kube-apiserver"),
		controllerManager: filepath.Join(folder, "kube", "kube-controller-manager"),
	}
	for _, path := range []string{b.apiServer, b.controllerManager} {
		if _, err := os.Stat(path); err != nil {
			return binaries{}, fmt.Errorf("%w: `make kube` builds it", err)
		}
	}
	return b, nil
}
