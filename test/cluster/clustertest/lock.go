// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// lock waits until no other test uses what all tests share under that name. That includes
// tests of other programs with the same clusters.
func (r *Rig) lock(t testing.TB, name string) (unlock func()) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(filepath.Dir(r.Seed.Kubeconfig), name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(errors.Join(err, file.Close()))
	}
	return func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}
}
