// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package redirect sends a pod's TCP connections to the shoot into a listener
// on the pod's own loopback address, with iptables, and keeps everything else
// for the shoot inside of the pod.
//
// It owns the chains PROXY_CLIENT_OUTPUT and PROXY_CLIENT_REDIRECT of table
// nat, PROXY_CLIENT_GUARD of the tables filter and mangle, one jump to each but
// the second from OUTPUT or POSTROUTING, a local route to loopback on each
// device, and, in a pod that has no address of the shoot's family, one address
// and the routes that make connect(2) succeed until NAT takes over.
// It never touches another rule, and IPv6 only where an IPv6 CIDR asks for it.
//
// The rules are data: a [Config] becomes a [Ruleset] without looking at the
// machine, and the rest compares that with a network namespace or makes it so.
//
//	cfg := redirect.Config{
//		Shoot:     []netip.Prefix{netip.MustParsePrefix("100.64.0.0/12")},
//		ProxyPort: 14001, // where the sidecar listens on 127.0.0.1 and ::1
//		ProxyUID:  14001, // whom the sidecar runs as; its traffic is exempt
//	}
//	rules, err := redirect.Build(cfg)           // pure; rules.String() is readable
//	result, err := redirect.Apply(ctx, cfg, redirect.Options{})
//	err = redirect.Verify(ctx, cfg, redirect.Options{})
//	installed, err := redirect.VerifyInstalled(ctx, redirect.Options{}) // without a Config
//	report, err := redirect.Dump(ctx, redirect.Options{})
//	removed, err := redirect.Clean(ctx, redirect.Options{}, redirect.CleanOptions{})
//
// Apply is one iptables-restore transaction a family and table. It runs again
// and again in a live namespace (init containers do): what already stands is
// not touched, what differs is replaced in one commit, and connections survive.
//
// Each call holds a lock of its network namespace, so that two processes never
// change or try the rules at the same time.
//
// Errors are a [*ConfigError] (what was asked for makes no sense), a
// [*CollisionError] (it would take this pod's own network away), a
// [*KernelError] (permission, binary or kernel module) or a [*VerifyError].
package redirect
