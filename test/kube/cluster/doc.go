// SPDX-License-Identifier: Apache-2.0

// Package cluster runs a control plane of Kubernetes on this machine for the length of a
// test. It runs the real kube-apiserver over the real etcd, and on request the real
// kube-controller-manager. There are no nodes: pods are objects that never run.
//
//	c, err := cluster.Start(ctx, cluster.Options{})
//	if err != nil { … }
//	defer c.Close()
//	if err := c.StartControllerManager(ctx); err != nil { … }
//	client, err := kubernetes.NewForConfig(c.Admin())
//
// It needs no root. Everything listens on 127.0.0.1, on ports that were free.
// Certificates, keys and tokens are made for each cluster. RBAC is on, admission plugins
// are the default ones, and all files are in a temporary folder.
//
// What it promises: every process and file is gone after [Cluster.Close]. The processes
// are gone also if the test is killed.
package cluster
