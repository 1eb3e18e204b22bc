// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// SSHPort is the port of sshd on the shoot's node addresses.
const SSHPort = 22

// ownRunThenSSHD starts sshd in a mount namespace with a /run of its own. Debian's sshd
// needs a folder there that no service has made. The folder is gone with sshd, and no
// other lab can remove it.
const ownRunThenSSHD = `mount -t tmpfs tmpfs /run && mkdir -m 0755 /run/sshd && exec /usr/sbin/sshd -D -e -f "$1"`

// StartSSHD starts Debian's sshd on the shoot's node addresses, and waits until it
// accepts connections. sshd has a host key of its own and no way to log in. StartSSHD
// returns the public host key, as ssh-keyscan prints it after the host.
func (l *Lab) StartSSHD(ctx context.Context) (hostKey string, err error) {
	key := filepath.Join(l.Dir, "ssh_host_key")
	if _, err := l.Shoot.Run(ctx, Command{Path: "ssh-keygen", Args: []string{"-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key}}); err != nil {
		return "", err
	}
	config := fmt.Sprintf("Port %d\nHostKey %s\nPidFile none\nUsePAM no\nPasswordAuthentication no\nMaxStartups 200\n", SSHPort, key)
	for _, f := range DualStack.Each() {
		config += fmt.Sprintf("ListenAddress %s\n", ShootNode(f))
	}
	path := filepath.Join(l.Dir, "sshd_config")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return "", err
	}
	sshd, err := l.Shoot.Start("sshd", Command{
		Path: "unshare",
		Args: []string{"--mount", "--propagation", "private", "sh", "-c", ownRunThenSSHD, "sshd", path},
	})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, startupDeadline)
	defer cancel()
	err = Poll(ctx, "sshd", func(ctx context.Context) error {
		if err := sshd.alive(); err != nil {
			return err
		}
		conn, err := l.Shoot.DialContext(ctx, "tcp", net.JoinHostPort(ShootNode(IPv6).String(), fmt.Sprint(SSHPort)))
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		return "", err
	}
	public, err := os.ReadFile(key + ".pub")
	return strings.TrimSpace(string(public)), err
}
