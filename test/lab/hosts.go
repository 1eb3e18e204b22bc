// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
)

// Hosts is an /etc/hosts for single processes, by [Command.Hosts]. It can change while
// they run. A program may use what it has read for a while (Go's resolver for 5 s).
type Hosts struct {
	lab  *Lab
	file string
}

// hostsSize is the size of the file, whatever its text. The file is changed in place by
// one write, since a mounted file cannot be replaced. No process may read half of a
// change.
const hostsSize = 4096

// NewHosts makes an /etc/hosts with these names.
func (l *Lab) NewHosts(names map[string][]netip.Addr) (*Hosts, error) {
	file, err := os.CreateTemp(l.Dir, "hosts-")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := file.Chmod(0o644); err != nil {
		return nil, err
	}
	// The nameserver refuses at once: no program listens there.
	if err := os.WriteFile(l.resolvConf(), []byte("nameserver 127.0.0.1\noptions attempts:1 timeout:1\n"), 0o644); err != nil {
		return nil, err
	}
	h := &Hosts{lab: l, file: file.Name()}
	return h, h.Set(names)
}

func (l *Lab) resolvConf() string { return filepath.Join(l.Dir, "resolv.conf") }

// Set replaces all names.
func (h *Hosts) Set(names map[string][]netip.Addr) error {
	var text bytes.Buffer
	text.WriteString("127.0.0.1 localhost\n")
	for name, addrs := range names {
		for _, addr := range addrs {
			fmt.Fprintf(&text, "%s %s\n", addr, name)
		}
	}
	if text.Len() > hostsSize {
		return fmt.Errorf("hosts file of %d bytes, at most %d", text.Len(), hostsSize)
	}
	text.Write(bytes.Repeat([]byte{'\n'}, hostsSize-text.Len()))
	file, err := os.OpenFile(h.file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteAt(text.Bytes(), 0)
	return err
}

// ownHosts mounts $1 and $2 as the resolver's files, as root. Then it becomes user $3
// with the rest of the command line. The kernel forgets the parent-death signal when a
// process changes its user, hence --pdeathsig.
const ownHosts = `mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf || exit
uid=$3; shift 3
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups --pdeathsig keep "$@"`

// around returns c inside a mount namespace of its own, with the same process id.
func (h *Hosts) around(c Command) Command {
	args := []string{
		"--mount", "--propagation", "private", "sh", "-c", ownHosts, "hosts",
		h.file, h.lab.resolvConf(), fmt.Sprint(c.UID), c.Path,
	}
	c.Path, c.Args, c.UID, c.Hosts = "unshare", slices.Concat(args, c.Args), 0, nil
	return c
}
