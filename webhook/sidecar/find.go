// SPDX-License-Identifier: Apache-2.0

package sidecar

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/spelling"
	"github.com/shoot-proxy/proxy-client/webhook"
)

// most is how many names a sentence lists.
const most = 5

// Pods returns the pods that a name stands for: POD, pod/POD, or all pods of a workload,
// such as deployment/NAME. There is at least one.
func (a *Access) Pods(ctx context.Context, namespace, name string) ([]corev1.Pod, error) {
	kind, name, slash := strings.Cut(name, "/")
	if !slash {
		kind, name = "pod", kind
	}
	if name == "" {
		return nil, &flagset.UsageError{Problem: fmt.Sprintf("%q names no pod: write POD, or a workload such as deployment/NAME", kind+"/")}
	}
	var selector *metav1.LabelSelector
	var err error
	switch strings.ToLower(kind) {
	case "pod", "pods", "po":
		pod, err := a.Pod(ctx, namespace, name)
		if err != nil {
			return nil, err
		}
		return []corev1.Pod{*pod}, nil
	case "deployment", "deployments", "deploy", "deployment.apps":
		kind = "deployment"
		selector, err = selectorOf(a.Apps.Deployments(namespace).Get(ctx, name, metav1.GetOptions{}))
	case "statefulset", "statefulsets", "sts", "statefulset.apps":
		kind = "statefulset"
		selector, err = selectorOf(a.Apps.StatefulSets(namespace).Get(ctx, name, metav1.GetOptions{}))
	case "daemonset", "daemonsets", "ds", "daemonset.apps":
		kind = "daemonset"
		selector, err = selectorOf(a.Apps.DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{}))
	default:
		return nil, &flagset.UsageError{Problem: fmt.Sprintf("%q is no kind of workload that is known here: write POD, or deployment/NAME, statefulset/NAME or daemonset/NAME", kind)}
	}
	what := kind + "/" + name
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("there is no %s in namespace %q: look at 'kubectl --namespace %s get %ss', or name another --namespace", what, namespace, namespace, kind)
	case err != nil:
		return nil, a.refused(err, "read %s in namespace %q", what, namespace)
	}
	pods, err := a.Core.Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(selector)})
	if err != nil {
		return nil, a.refused(err, "list the pods of %s in namespace %q", what, namespace)
	}
	if len(pods.Items) == 0 {
		return nil, fmt.Errorf("%s in namespace %q has no pod: it has none to run, or they are refused; the events in 'kubectl --namespace %s describe %s' say why", what, namespace, namespace, strings.Replace(what, "/", " ", 1))
	}
	return pods.Items, nil
}

// selectorOf returns the selector of a workload's pods.
func selectorOf(workload any, err error) (*metav1.LabelSelector, error) {
	if err != nil {
		return nil, err
	}
	switch w := workload.(type) {
	case *appsv1.Deployment:
		return w.Spec.Selector, nil
	case *appsv1.StatefulSet:
		return w.Spec.Selector, nil
	case *appsv1.DaemonSet:
		return w.Spec.Selector, nil
	default:
		panic(fmt.Sprintf("%T is no workload", workload))
	}
}

// Injected returns the pods of a namespace that have the sidecar, by name.
func (a *Access) Injected(ctx context.Context, namespace string) ([]corev1.Pod, error) {
	pods, err := a.Core.Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, a.refused(err, "list the pods of namespace %q", namespace)
	}
	found := slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool { return Container(&pod, ProxyClient) == nil })
	slices.SortFunc(found, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	if len(found) == 0 {
		return nil, fmt.Errorf("no pod in namespace %q has the sidecar: 'kubectl get pods --all-namespaces --selector=%s=true' shows the pods that ask for it", namespace, webhook.Label)
	}
	return found, nil
}

// Pod returns a pod.
func (a *Access) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	pod, err := a.Core.Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, a.notFound(ctx, namespace, name)
	case err != nil:
		return nil, a.refused(err, "read pod %q in namespace %q", name, namespace)
	}
	return pod, nil
}

// notFound says that there is no such pod, and which the person may have meant.
func (a *Access) notFound(ctx context.Context, namespace, name string) error {
	pods, err := a.Core.Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("there is no pod %q in namespace %q: write another name, or another --namespace", name, namespace)
	}
	var all, parts, ours []string
	for i := range pods.Items {
		pod := &pods.Items[i]
		all = append(all, pod.Name)
		if strings.HasPrefix(pod.Name, name+"-") {
			parts = append(parts, pod.Name)
		}
		if Container(pod, ProxyClient) != nil {
			ours = append(ours, pod.Name)
		}
	}
	slices.Sort(ours)
	next := ""
	switch {
	case len(parts) > 0:
		next = fmt.Sprintf("name one such as %s, or the workload, such as deployment/%s", parts[0], name)
	case spelling.Nearest(name, all) != "":
		next = spelling.Question(name, all, "")
	case len(ours) > 0:
		next = "pods with the sidecar there are " + list(ours)
	default:
		next = "no pod there has the sidecar; is it in another --namespace?"
	}
	return fmt.Errorf("there is no pod %q in namespace %q: %s", name, namespace, next)
}

// list names some of a list's elements.
func list(names []string) string {
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// Container returns the pod's container of that name, wherever it is, or nil.
func Container(pod *corev1.Pod, name string) *corev1.Container {
	for _, all := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		if i := slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == name }); i >= 0 {
			return &all[i]
		}
	}
	return nil
}

// statusOf returns what the kubelet says about a container, or nil if it has said nothing.
func statusOf(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, all := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		if i := slices.IndexFunc(all, func(s corev1.ContainerStatus) bool { return s.Name == name }); i >= 0 {
			return &all[i]
		}
	}
	return nil
}
