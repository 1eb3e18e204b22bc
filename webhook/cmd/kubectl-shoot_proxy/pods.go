// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/inspect"
	"github.com/shoot-proxy/proxy-client/webhook/sidecar"
)

// injectedPod returns the one pod that a name stands for, if it has the sidecar.
func injectedPod(ctx context.Context, access *sidecar.Access, to *cluster, namespace, name string) (*corev1.Pod, error) {
	pods, err := access.Pods(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(pods, func(p corev1.Pod) bool { return sidecar.Container(&p, sidecar.ProxyClient) != nil })
	if i < 0 {
		return nil, notInjected(ctx, access, to, &pods[0])
	}
	return &pods[i], nil
}

// canRun returns nil if something can be run in a pod's sidecar. Otherwise the error says
// why not, and what to do.
func canRun(ctx context.Context, access *sidecar.Access, to *cluster, pod *corev1.Pod) error {
	if sidecar.Container(pod, sidecar.ProxyClient) == nil {
		return notInjected(ctx, access, to, pod)
	}
	return access.Running(ctx, pod)
}

// notInjected says why a pod has no sidecar. For a pod with the label it asks as the check
// of the installation does.
func notInjected(ctx context.Context, access *sidecar.Access, to *cluster, pod *corev1.Pod) error {
	where := fmt.Sprintf("pod %q in namespace %q has no sidecar", pod.Name, pod.Namespace)
	switch value, labelled := pod.Labels[webhook.Label]; {
	case !labelled:
		return fmt.Errorf("%s, and no label %s that asks for it: put the label with the value \"true\" into the pod template of its workload, which then makes new pods (docs/install.md, The label)", where, webhook.Label)
	case value == "false":
		return fmt.Errorf("%s, because its label %s is \"false\": write \"true\" into the pod template of its workload, which then makes new pods", where, webhook.Label)
	}
	report, err := inspect.Run(ctx, inspect.Config{Cluster: access.Config, Namespaces: []string{pod.Namespace}, Version: to.version})
	if err != nil {
		return fmt.Errorf("%s although it has the label, and the cause could not be found: %w", where, err)
	}
	for _, f := range report.Findings {
		if f.Check != "pod-not-injected" || !slices.Contains(f.Objects, "Pod "+pod.Namespace+"/"+pod.Name) {
			continue
		}
		sentence := where + ". " + f.Message
		if f.Next != "" {
			sentence += " Next: " + f.Next + "."
		}
		if len(f.Commands) > 0 {
			sentence += " " + strings.Join(f.Commands, "; ")
		}
		return fmt.Errorf("%s", sentence)
	}
	return fmt.Errorf("%s although it has the label: '%s check --namespace %s' looks at the installation", where, name, pod.Namespace)
}
