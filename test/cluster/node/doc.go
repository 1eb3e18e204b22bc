// SPDX-License-Identifier: Apache-2.0

// Package node runs a node of a Kubernetes cluster on this machine as one tree of
// processes. These are the real containerd, kubelet and kube-proxy, in network, mount,
// PID, UTS and IPC namespaces of their own.
//
//	n, err := node.Start(ctx, node.Config{Name: "seed", …})
//	defer n.Close()
//	err = n.Import(ctx, "dist/images/webhook.tar")
//	err = n.StartKubelet(ctx, node.Access{…})
//	out, err := n.Run(ctx, "nft", "list", "ruleset")
//
// The node has its own /run, /var and /tmp, in memory. It shares with the machine the
// kernel, the other folders (Debian's programs, for example), and one cgroup folder for
// each controller.
//
// What it promises: every process, mount, network namespace, cgroup folder and file of
// the node is gone after [Node.Close]. The same holds if the program that started it is
// killed. The machine's own rules, routes, sysctls and mounts stay as they are.
//
// It needs root. Cgroups may be of either version; only version 1 has been tried.
package node
