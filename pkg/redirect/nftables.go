// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// kernelChain is one chain of nf_tables, whoever made it.
type kernelChain struct {
	table, name string
	// hook is where a base chain meets packets, such as "output"; "" for a
	// chain that only rules lead to.
	hook string
	// priority orders the base chains of one hook.
	priority int32
}

// String is the chain as `nft list chains` has it.
func (c kernelChain) String() string {
	if c.hook == "" {
		return fmt.Sprintf("table %s chain %s", c.table, c.name)
	}
	return fmt.Sprintf("table %s chain %s (hook %s, priority %d)", c.table, c.name, c.hook, c.priority)
}

// kernelChains asks nf_tables itself for the chains of a family, in the calling
// thread's network namespace. It is what iptables-nft's view is compared with.
// A kernel without nf_tables has none.
func kernelChains(f Family) ([]kernelChain, error) {
	if f == IPv6 {
		return kernelChainsOf(unix.NFPROTO_IPV6, string(f))
	}
	return kernelChainsOf(unix.NFPROTO_IPV4, string(f))
}

// kernelChainsOf is kernelChains for a family of nf_tables, named f for people.
func kernelChainsOf(family uint8, f string) ([]kernelChain, error) {
	messages, err := complete(func() ([][]byte, error) {
		request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP)
		request.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
		return request.Execute(unix.NETLINK_NETFILTER, 0)
	})
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT):
		return nil, nil // nfnetlink_rcv_msg: there is no such subsystem
	case errors.Is(err, os.ErrPermission):
		return nil, &KernelError{Op: fmt.Sprintf("list the %s chains of nf_tables", f), Cure: "the container needs capability NET_ADMIN", Err: fmt.Errorf("%w (%w)", ErrPermission, err)}
	case err != nil:
		return nil, &KernelError{Op: fmt.Sprintf("list the %s chains of nf_tables", f), Cure: "try again, and look at `nft list chains` in the pod", Err: err}
	}
	var chains []kernelChain
	for _, message := range messages {
		c, err := parseKernelChain(message)
		if err != nil {
			return nil, fmt.Errorf("list the %s chains of nf_tables: %w", f, err)
		}
		chains = append(chains, c)
	}
	return chains, nil
}

// parseKernelChain reads one NFT_MSG_NEWCHAIN (linux/netfilter/nf_tables.h).
func parseKernelChain(message []byte) (kernelChain, error) {
	if len(message) < nl.SizeofNfgenmsg {
		return kernelChain{}, fmt.Errorf("a message of %d bytes", len(message))
	}
	attributes, err := nl.ParseRouteAttr(message[nl.SizeofNfgenmsg:])
	if err != nil {
		return kernelChain{}, err
	}
	var c kernelChain
	for _, a := range attributes {
		switch a.Attr.Type & nl.NLA_TYPE_MASK {
		case unix.NFTA_CHAIN_TABLE:
			c.table = nl.BytesToString(a.Value)
		case unix.NFTA_CHAIN_NAME:
			c.name = nl.BytesToString(a.Value)
		case unix.NFTA_CHAIN_HOOK:
			if err := c.parseHook(a.Value); err != nil {
				return kernelChain{}, err
			}
		}
	}
	return c, nil
}

func (c *kernelChain) parseHook(nested []byte) error {
	attributes, err := nl.ParseRouteAttr(nested)
	if err != nil {
		return err
	}
	for _, a := range attributes {
		if len(a.Value) < 4 {
			continue
		}
		value := binary.BigEndian.Uint32(a.Value)
		switch a.Attr.Type & nl.NLA_TYPE_MASK {
		case unix.NFTA_HOOK_HOOKNUM: // enum nf_inet_hooks of linux/netfilter.h
			c.hook = fmt.Sprintf("number %d", value)
			if names := []string{"prerouting", "input", "forward", "output", "postrouting"}; int(value) < len(names) {
				c.hook = names[value]
			}
		case unix.NFTA_HOOK_PRIORITY:
			c.priority = int32(value)
		}
	}
	return nil
}

// dumpTries is how often an interrupted dump is asked for. It is interrupted
// where something changes meanwhile, and lasts less than a millisecond.
const dumpTries = 10

// complete asks for a netlink dump until the kernel says that nothing changed
// meanwhile (NLM_F_DUMP_INTR is not set): an interrupted one may lack entries.
func complete[T any](dump func() ([]T, error)) (all []T, err error) {
	for range dumpTries {
		all, err = dump()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, err
}
