// SPDX-License-Identifier: Apache-2.0

// Package sidecar works in the containers that the webhook has added to a running pod,
// through the API server: it runs programs in proxy-client, reads its admin address and
// the logs, and adds a container that looks at the rules.
//
//	access := sidecar.Access{Config: config, Core: core, Apps: apps}
//	pod, err := access.Pod(ctx, "monitoring", "prometheus-0")
//	if err := access.Running(ctx, pod); err != nil {
//		return err // says why nothing can be run in the pod, and what to do
//	}
//	code, err := access.Exec(ctx, pod, sidecar.ProxyClient, []string{"/proxy-client", "check"}, os.Stdout, os.Stderr)
//
// Each error is a sentence for the person who asked. It names the pod, what is wrong with
// it, and the next step. The package does not know what the programs in the pod print.
package sidecar

import (
	appsv1client "k8s.io/client-go/kubernetes/typed/apps/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// The containers that the webhook adds.
const (
	ProxyClient  = "proxy-client"
	InitRedirect = "init-redirect"
)

// Access is the way to the pods of a cluster.
type Access struct {
	// Config is the API server, with the caller's identity.
	Config *rest.Config
	// Core and Apps are clients with the same identity.
	Core corev1client.CoreV1Interface
	Apps appsv1client.AppsV1Interface
}

// New returns the access that a configuration gives.
func New(config *rest.Config) (*Access, error) {
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	apps, err := appsv1client.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Access{Config: config, Core: core, Apps: apps}, nil
}
