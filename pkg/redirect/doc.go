// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package redirect sends a pod's TCP connections to the shoot into a listener on the
// pod's own loopback address, with iptables. All other traffic for the shoot it keeps
// inside of the pod.
//
// It owns these things in a network namespace:
//
//   - the chains PROXY_CLIENT_OUTPUT and PROXY_CLIENT_REDIRECT of table nat
//   - the chain PROXY_CLIENT_GUARD of the tables filter and mangle
//   - one jump from OUTPUT or POSTROUTING to each of them except PROXY_CLIENT_REDIRECT
//   - a local route to loopback on each device
//   - in a pod that has no address of the shoot's family, one address and the routes that
//     make connect(2) succeed until NAT takes over
//
// It never touches another rule, and it touches IPv6 only if there is an IPv6 CIDR.
//
// The rules are data: a [Config] becomes a [Ruleset] without asking the kernel. The rest of
// the package compares that with a network namespace, or changes the namespace.
//
//	cfg := redirect.Config{
//		Shoot:     []netip.Prefix{netip.MustParsePrefix("100.64.0.0/12")},
//		ProxyPort: 14001, // where the sidecar listens on 127.0.0.1 and ::1
//		ProxyUID:  14001, // the user of the sidecar; its traffic is exempt
//	}
//	rules, err := redirect.Build(cfg)           // asks nothing; rules.String() is readable
//	result, err := redirect.Apply(ctx, cfg, redirect.Options{})
//	err = redirect.Verify(ctx, cfg, redirect.Options{})
//	installed, err := redirect.VerifyInstalled(ctx, redirect.Options{}) // without a Config
//	report, err := redirect.Dump(ctx, redirect.Options{})
//	words, err := redirect.Explain(ctx, nil, redirect.Options{})
//	path, err := redirect.Follow(ctx, redirect.Traffic{To: netip.MustParseAddrPort("100.64.3.7:9100")}, redirect.Options{})
//	removed, err := redirect.Clean(ctx, redirect.Options{}, redirect.CleanOptions{})
//
// Apply is one iptables-restore transaction for each family and table. It can run again in a
// live namespace, as init containers do. It does not touch what is right already, and
// replaces what differs in one commit. Connections survive both.
//
// Each call holds a lock of its network namespace, so that two processes never change or
// try the rules at the same time.
//
// Errors are a [*ConfigError] (the configuration makes no sense), a [*CollisionError] (the
// redirect would take this pod's own network away), a [*KernelError] (permission, binary or
// kernel module) or a [*VerifyError]. Their sentences name the fields and functions of this
// package.
//
// The packages below it read and change the kernel, and know no [Config]:
//
//	redirect
//	├── kernelprobe       what the kernel lacks, before any rule is changed
//	│   └── iptables      the programs of both backends, and their lock
//	│       └── nftables  chains and rules that iptables cannot show
//	├── explain           words for the rules of all programs
//	│   └── netfilter     what rules do to the first packet of a connection
//	├── ruletext          the notations of iptables and nft, read into netfilter
//	├── conntrack         tracked connections
//	├── routes            the pod's extra address and routes
//	│   └── podnetwork    the pod's devices, addresses, gateways and nameservers
//	├── netnamespace      entering and locking a network namespace
//	├── userns            which users exist
//	└── probing           trying the redirect
//
// They share the small packages family, kernelerror, netlinkdump, process and condition,
// which import none of the others.
package redirect
