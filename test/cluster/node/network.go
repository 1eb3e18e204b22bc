// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
)

// Link is one end of a cable between two nodes.
type Link struct {
	Node *Node
	// Interface is its name inside the node.
	Interface string
	// Address is the address of the interface, with the other end in the same network. It
	// becomes the gateway of the other node's default route.
	Address netip.Prefix
}

// Connect connects two nodes with a cable. It becomes the default route of both.
func Connect(ctx context.Context, a, b Link) error {
	// `ip` runs in a's network namespace and otherwise on the machine, where b's process
	// has the id that is known here.
	args := []string{
		"--target", strconv.Itoa(a.Node.PID), "--net", "--",
		"ip", "link", "add", a.Interface, "type", "veth", "peer", "name", b.Interface, "netns", strconv.Itoa(b.Node.PID),
	}
	if out, err := exec.CommandContext(ctx, "nsenter", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("connect %s and %s: %w: %s", a.Node.Name, b.Node.Name, err, strings.TrimSpace(string(out)))
	}
	for _, end := range []struct{ link, peer Link }{{a, b}, {b, a}} {
		for _, command := range [][]string{
			{"ip", "address", "add", end.link.Address.String(), "dev", end.link.Interface},
			{"ip", "link", "set", end.link.Interface, "up"},
			{"ip", "route", "add", "default", "via", end.peer.Address.Addr().String(), "src", end.link.Node.Address.String()},
		} {
			if _, err := end.link.Node.Run(ctx, command...); err != nil {
				return err
			}
		}
	}
	return nil
}

// HideBehind makes a node drop packets from an interface, as a NAT gateway does. Packets
// of connections that the node, or a pod on it, has begun may pass. Packets that leave
// there get the interface's address.
func (n *Node) HideBehind(ctx context.Context, link string) error {
	rules := fmt.Sprintf(`table ip gateway {
	chain dropped {
		type filter hook prerouting priority filter - 10; policy accept;
		iifname %q ct state new counter drop
	}
	chain hidden {
		type nat hook postrouting priority srcnat + 10; policy accept;
		oifname %[1]q masquerade
	}
}
`, link)
	_, err := n.RunWith(ctx, strings.NewReader(rules), "nft", "-f", "-")
	return err
}
