// SPDX-License-Identifier: Apache-2.0

package dialer

import "golang.org/x/sys/unix"

const (
	// otherFiles is how many files of this process are neither links nor connections.
	// Package proxy reserves as many (reservedFiles).
	otherFiles = 192
)

// openFiles returns how many files this process may have open.
func openFiles() int64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int64(min(limit.Cur, 1<<31))
}

// affordsFile reports whether there is a file for one more link. Every connection of an
// app needs a file as well.
func (d *Dialer) affordsFile() bool {
	used := d.grpc.LinkFiles() + d.h2.LinkFiles()
	for _, s := range d.servers {
		for _, e := range s.known() {
			used += e.load.Load()
		}
	}
	return used+min(otherFiles, d.files/4) < d.files
}
