// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Abandon removes a node because of an error. It returns that error with the logs of the
// node's programs: see [Node.WithLogs].
func (n *Node) Abandon(err error) error {
	return errors.Join(n.WithLogs(err), n.Close())
}

// WithLogs copies all logs of the node into [Config.FailureLogs], including those of its
// pods. Without that folder it adds the last lines of the programs' logs to the error.
func (n *Node) WithLogs(err error) error {
	if n.FailureLogs == "" {
		return fmt.Errorf("%w\n%s", err, n.Logs())
	}
	folder := filepath.Join(n.FailureLogs, n.Name)
	if copying := copyFolder(folder, n.path("logs")); copying != nil {
		err = errors.Join(err, fmt.Errorf("keep the logs of node %s: %w", n.Name, copying))
	}
	if n.PID != 0 {
		// The pods' logs are in memory, which only the node sees.
		pods := filepath.Join("/proc", strconv.Itoa(n.PID), "root/var/log/pods")
		if copying := copyFolder(filepath.Join(folder, "pods"), pods); copying != nil {
			err = errors.Join(err, fmt.Errorf("keep the logs of the pods on node %s: %w", n.Name, copying))
		}
	}
	return err
}

// copyFolder copies a folder, if it is there.
func copyFolder(to, from string) error {
	if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return os.CopyFS(to, os.DirFS(from))
}
