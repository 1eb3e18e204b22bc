// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package rule has one iptables rule of ours as data: its text, and what a listing shows of
// it.
//
// It does not know which rules are wanted, or in which chain.
package rule

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/condition"
)

// Rule is one iptables rule, with the conditions and targets that package
// redirect uses. A packet
// has to meet all conditions. The zero value of a field is no condition.
type Rule struct {
	// Destination is the packet's destination.
	Destination netip.Prefix
	// Out is the device that the packet leaves by. With "! " before the name it is any
	// other device.
	Out string
	// TCP is set for a rule about TCP alone, NotTCP for a rule about all but TCP.
	TCP, NotTCP bool
	// NotSYN is set for TCP packets that do not ask for a connection.
	NotSYN bool
	// Ports holds TCP destination ports, sorted. There are at most 15 (xt_multiport.h);
	// three or more consecutive ports count as two.
	Ports []uint16
	// ICMPv6 is a type of ICMPv6 message (RFC 4443); 0 is any packet.
	ICMPv6 uint8
	// CTState is conntrack's state of the packet, such as INVALID. With "! " before
	// several states it is none of them.
	CTState string
	// CTDir is ORIGINAL, for packets of the side that began a connection, or REPLY.
	CTDir string
	// UID is the user whose socket sent the packet; nil is any user, and the kernel.
	UID *uint32
	// NoSocket is set for packets that have no socket. Such are the rest of a connection
	// that its app has closed. Without a socket a packet has no user.
	NoSocket bool
	// Jump is the chain or target that gets the packet.
	Jump string
	// ToPort is the port of target REDIRECT.
	ToPort uint16
	// RejectWith is the answer of target REJECT.
	RejectWith string

	// foreign holds the other words of a rule that this package did not write. They make
	// it differ from every rule of ours.
	foreign string
}

// String returns the rule in the words of iptables, without table and chain.
func (r Rule) String() string {
	var words []string
	add := func(w ...string) { words = append(words, w...) }
	if r.Destination.IsValid() {
		add("-d", r.Destination.String())
	}
	if r.Out != "" {
		device, other := strings.CutPrefix(r.Out, "! ")
		if other {
			add("!")
		}
		add("-o", device)
	}
	switch {
	case r.TCP:
		add("-p", "tcp")
	case r.NotTCP:
		add("!", "-p", "tcp")
	case r.ICMPv6 != 0:
		add("-p", "ipv6-icmp", "-m", "icmp6", "--icmpv6-type", strconv.Itoa(int(r.ICMPv6)))
	}
	if r.NotSYN {
		add("-m", "tcp", "!", "--tcp-flags", synFlags[0], synFlags[1]) // how iptables shows ! --syn
	}
	switch len(r.Ports) {
	case 0:
	case 1:
		add("-m", "tcp", "--dport", condition.Ports(r.Ports))
	default:
		add("-m", "multiport", "--dports", condition.Ports(r.Ports))
	}
	if r.CTState != "" {
		add("-m", "conntrack")
		states, other := strings.CutPrefix(r.CTState, "! ")
		if other {
			add("!")
		}
		add("--ctstate", states)
	}
	if r.CTDir != "" {
		add("-m", "conntrack", "--ctdir", r.CTDir)
	}
	if r.UID != nil {
		add("-m", "owner", "--uid-owner", strconv.FormatUint(uint64(*r.UID), 10))
	}
	if r.NoSocket {
		add("-m", "owner", "!", "--socket-exists")
	}
	if r.foreign != "" {
		add(r.foreign)
	}
	if r.Jump != "" {
		add("-j", r.Jump)
	}
	if r.ToPort != 0 {
		add("--to-ports", strconv.Itoa(int(r.ToPort)))
	}
	if r.RejectWith != "" {
		add("--reject-with", r.RejectWith)
	}
	return strings.Join(words, " ")
}

// synFlags are the flags that --syn compares, and those of them that have to be set.
var synFlags = [2]string{"FIN,SYN,RST,ACK", "SYN"}
