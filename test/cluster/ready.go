// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// waitForPods returns once every Deployment and DaemonSet of both clusters has all of its
// pods. The shoot's kube-apiserver has then also read a pod's log through the tunnel.
func (c *Clusters) waitForPods(ctx context.Context) error {
	for name, config := range map[string]*rest.Config{"seed": c.Seed.Admin(), "shoot": c.Shoot.Admin()} {
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		err = lab.Poll(ctx, "all pods of the "+name, func(ctx context.Context) error { return allReady(ctx, client) })
		if err != nil {
			return errors.Join(err, errors.New(Describe(context.WithoutCancel(ctx), client, metav1.NamespaceAll)))
		}
	}
	client, err := kubernetes.NewForConfig(c.Shoot.Admin())
	if err != nil {
		return err
	}
	return lab.Poll(ctx, "a log of a shoot's pod, through konnectivity", func(ctx context.Context) error {
		pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil || len(pods.Items) == 0 {
			return errors.Join(err, errors.New("no pod"))
		}
		text, err := client.CoreV1().Pods("default").GetLogs(pods.Items[0].Name, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err == nil && len(text) == 0 {
			err = errors.New("the log is empty")
		}
		return err
	})
}

func allReady(ctx context.Context, client kubernetes.Interface) error {
	deployments, err := client.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range deployments.Items {
		if d.Status.ObservedGeneration < d.Generation || d.Status.ReadyReplicas < *d.Spec.Replicas {
			return fmt.Errorf("deployment %s/%s has %d of %d pods ready", d.Namespace, d.Name, d.Status.ReadyReplicas, *d.Spec.Replicas)
		}
	}
	sets, err := client.AppsV1().DaemonSets(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range sets.Items {
		if d.Status.ObservedGeneration < d.Generation || d.Status.DesiredNumberScheduled == 0 || d.Status.NumberReady < d.Status.DesiredNumberScheduled {
			return fmt.Errorf("daemon set %s/%s has %d of %d pods ready", d.Namespace, d.Name, d.Status.NumberReady, d.Status.DesiredNumberScheduled)
		}
	}
	return nil
}
