// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nftables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelerror"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netlinkdump"
)

// Chain is one chain of nf_tables, made by any program.
type Chain struct {
	Table, Name string
	// Hook is where a base chain meets packets, such as "output". It is empty if only
	// rules lead to the chain.
	Hook string
	// Priority orders the base chains of one hook.
	Priority int32
	// Type is "filter", "nat" or "route" for a base chain.
	Type string
}

// String returns the chain as `nft list chains` has it.
func (c Chain) String() string {
	if c.Hook == "" {
		return fmt.Sprintf("table %s chain %s", c.Table, c.Name)
	}
	return fmt.Sprintf("table %s chain %s (hook %s, priority %d)", c.Table, c.Name, c.Hook, c.Priority)
}

// Chains asks nf_tables for the chains of the tables that iptables-nft uses for a family,
// in the calling thread's network namespace. A kernel without nf_tables has none.
func Chains(f family.Family) ([]Chain, error) {
	if f == family.IPv6 {
		return chainsOf(unix.NFPROTO_IPV6, string(f))
	}
	return chainsOf(unix.NFPROTO_IPV4, string(f))
}

// chainsOf lists the chains of a family of nf_tables. name is what errors call it.
func chainsOf(protocol uint8, name string) ([]Chain, error) {
	messages, err := netlinkdump.Complete(func() ([][]byte, error) {
		request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP)
		request.AddData(&nl.Nfgenmsg{NfgenFamily: protocol, Version: nl.NFNETLINK_V0})
		return request.Execute(unix.NETLINK_NETFILTER, 0)
	})
	op := fmt.Sprintf("list the %s chains of nf_tables", name)
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT):
		return nil, nil // nfnetlink_rcv_msg: there is no such subsystem
	case errors.Is(err, os.ErrPermission):
		return nil, kernelerror.Permission(op, err)
	case err != nil:
		return nil, &kernelerror.Error{Op: op, Cure: "try again, and look at `nft list chains` in the pod", Err: err}
	}
	var chains []Chain
	for _, message := range messages {
		c, err := parseChain(message)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		chains = append(chains, c)
	}
	return chains, nil
}

// parseChain reads one NFT_MSG_NEWCHAIN (linux/netfilter/nf_tables.h).
func parseChain(message []byte) (Chain, error) {
	if len(message) < nl.SizeofNfgenmsg {
		return Chain{}, fmt.Errorf("a message of %d bytes", len(message))
	}
	attributes, err := nl.ParseRouteAttr(message[nl.SizeofNfgenmsg:])
	if err != nil {
		return Chain{}, err
	}
	var c Chain
	for _, a := range attributes {
		switch a.Attr.Type & nl.NLA_TYPE_MASK {
		case unix.NFTA_CHAIN_TABLE:
			c.Table = nl.BytesToString(a.Value)
		case unix.NFTA_CHAIN_NAME:
			c.Name = nl.BytesToString(a.Value)
		case unix.NFTA_CHAIN_TYPE:
			c.Type = nl.BytesToString(a.Value)
		case unix.NFTA_CHAIN_HOOK:
			if err := c.parseHook(a.Value); err != nil {
				return Chain{}, err
			}
		}
	}
	return c, nil
}

// parseHook reads the attributes that are nested in NFTA_CHAIN_HOOK.
func (c *Chain) parseHook(nested []byte) error {
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
			c.Hook = fmt.Sprintf("number %d", value)
			if names := []string{"prerouting", "input", "forward", "output", "postrouting"}; int(value) < len(names) {
				c.Hook = names[value]
			}
		case unix.NFTA_HOOK_PRIORITY:
			c.Priority = int32(value)
		}
	}
	return nil
}
