// SPDX-License-Identifier: Apache-2.0

// Package lab builds, on one machine and as root, everything that the product works with
// in production. A lab lasts for one test or demonstration.
//
// Three named network namespaces stand for three hosts:
//
//	client's pod           seed's control plane            shoot
//	10.96.0.10/24  ──────  10.96.0.1    10.97.0.1  ──────  10.97.0.2
//	fd00:96::10/64         fd00:96::1   fd00:97::1         fd00:97::2
//	default route ──────►  forwards, but has no            lo: 100.64.0.0/16    pods
//	                       route to the shoot's                100.104.0.0/16   services
//	                       addresses                           10.250.0.0/16    nodes
//	                                                           and fd10:64::/48 …
//
// The seed runs the unmodified upstream proxy-server, and the shoot the unmodified agent.
// Their certificates are made for each lab. There is one of each, or several with a
// balancer between them (Options.Servers, Options.Agents). The pod reaches the shoot's
// addresses only through the tunnel, which [Lab.Unreachable] proves. The product's own
// binaries run in the pod: init-redirect as root, proxy-client as uid 14001 without a
// capability.
//
//	l, err := lab.New(ctx, lab.Options{Mode: lab.GRPC})
//	if err != nil { … }
//	defer l.Close()
//	if _, err := l.ApplyRedirect(ctx); err != nil { … }
//	sidecar, err := l.StartProxyClient(ctx)
//	out, err := l.Pod.Run(ctx, lab.Command{Path: "curl", Args: []string{"-sS", "http://100.64.0.1:8080/"}, UID: lab.AppUID})
//
// Tests can cause faults of all kinds. Servers and agents are killed, frozen and
// restarted ([Server], [Agent]). Links lose some packets or all of them ([Lab.Loss],
// [Lab.Partition]), or become narrow or long ([Lab.Bandwidth], [Lab.AgentDelay]). Names
// change ([Lab.NewHosts]), and so do certificates ([Volume]).
//
// Exits run in the shoot beside the agents, with certificates and a policy of their own
// (Options.Exits, [Exit]). A sidecar uses them if it gets [Lab.ExitFlags].
//
// HAProxy or nginx can stand between the sidecar and a server ([ClientBalancer]). Several
// labs, each with the same addresses, can share one HAProxy, which tells them apart by the
// name in the TLS handshake ([SharedBalancer]).
//
// There can be more pods ([Lab.AddPod]), and a VPN by which a pod reaches the shoot without
// the tunnel ([Lab.StartVPN]).
//
// What it promises: every process, namespace and file that a lab made is gone after
// [Lab.Close], which reports what it could not remove. Processes end with the test also
// if the test is killed. Waiting is always for an event, with a deadline. It never uses
// an address outside its own namespaces, and it is never part of the product.
package lab
