// SPDX-License-Identifier: Apache-2.0

// Package cluster runs two whole Kubernetes clusters on this machine: a seed and a shoot.
// The shoot's control plane is in the seed. The seed's pods cannot reach the shoot's
// node.
//
//	c, err := cluster.Start(ctx, cluster.Options{Binaries: "test/bin", Dir: cluster.NewDir()})
//	defer c.Close()
//	// kubectl --kubeconfig c.SeedKubeconfig() get pods
//
// `make cluster-up` does the same for a person, and package e2e for tests.
//
// What it promises: nothing of the clusters is left after [Clusters.Close], or when the
// program that started them is killed; see package node. It opens only two ports of
// 127.0.0.1 on the machine.
package cluster
