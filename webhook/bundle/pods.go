// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/sidecar"
)

// documents are those of the sidecar's admin address that are collected.
var documents = []string{"configuration", "state", "failures", "history"}

// looksLimit limits the time for the logs and documents of all pods.
const looksLimit = 2 * time.Minute

// isOurs tells the containers that the webhook adds from others.
func isOurs(container string) bool {
	return container == sidecar.ProxyClient || container == sidecar.InitRedirect || strings.HasPrefix(container, sidecar.DebugPrefix)
}

// collectPods adds the pods that have the label or the sidecar, and what is around them in
// their namespaces.
func (c *collector) collectPods(ctx context.Context) error {
	pods := c.readPods(ctx)
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(health(a), health(b)), cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
	})
	if n := len(pods) - maxManifests; n > 0 {
		c.missing = append(c.missing, fmt.Sprintf("%d more pods: the bundle has %d, those that are not well first", n, maxManifests))
		pods = pods[:maxManifests]
	}
	var errs []error
	for _, namespace := range namespacesOf(pods) {
		errs = append(errs, c.collectNamespace(ctx, namespace, pods))
	}
	for _, p := range pods {
		errs = append(errs, c.addObject(prefixOf(p)+".yaml", pod(p, isOurs)))
	}
	if n := len(pods) - maxLooks; n > 0 {
		c.missing = append(c.missing, fmt.Sprintf("logs and status of %d pods: the bundle has those of %d pods, the ones that are not well first", n, maxLooks))
	}
	ctx, cancel := context.WithTimeout(ctx, looksLimit)
	defer cancel()
	for i, p := range pods[:min(len(pods), maxLooks)] {
		errs = append(errs, c.look(ctx, p, i < maxChecks))
	}
	return errors.Join(errs...)
}

// prefixOf returns the beginning of the names of a pod's files.
func prefixOf(p *corev1.Pod) string { return "namespaces/" + p.Namespace + "/" + p.Name }

// readPods returns the pods that have the label or the sidecar.
func (c *collector) readPods(ctx context.Context) []*corev1.Pod {
	scopes := c.Namespaces
	if len(scopes) == 0 {
		scopes = []string{metav1.NamespaceAll}
	}
	var found []*corev1.Pod
	for _, namespace := range scopes {
		options := metav1.ListOptions{Limit: pageSize}
		for {
			page, err := c.access.Core.Pods(namespace).List(ctx, options)
			if !c.had(err, "the pods of namespace %q", namespace) {
				break
			}
			for i := range page.Items {
				if p := &page.Items[i]; webhook.Wanted(p) || sidecar.Container(p, sidecar.ProxyClient) != nil {
					found = append(found, p)
				}
			}
			if options.Continue = page.Continue; options.Continue == "" {
				break
			}
		}
	}
	return found
}

// health orders pods: 0 for a pod that is not well, 1 for one that has restarted or was not
// injected, 2 for others.
func health(p *corev1.Pod) int {
	ours := 0
	restarts := int32(0)
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if isOurs(s.Name) {
			ours++
			restarts += s.RestartCount
		}
		if s.Name == sidecar.ProxyClient && s.State.Running == nil && p.Status.Phase != corev1.PodSucceeded {
			return 0
		}
	}
	switch {
	case p.Status.Phase == corev1.PodPending || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodUnknown:
		return 0
	case ours == 0 || restarts > 0:
		return 1
	default:
		return 2
	}
}

func namespacesOf(pods []*corev1.Pod) []string {
	var all []string
	for _, p := range pods {
		all = append(all, p.Namespace)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// look adds the logs of our containers in a pod, and the documents of its sidecar. With
// check, it adds the sidecar's own check too.
func (c *collector) look(ctx context.Context, p *corev1.Pod, check bool) error {
	var errs []error
	for _, container := range []string{sidecar.InitRedirect, sidecar.ProxyClient} {
		if sidecar.Container(p, container) != nil {
			errs = append(errs, c.collectLogs(ctx, prefixOf(p), p, container))
		}
	}
	if sidecar.Container(p, sidecar.ProxyClient) == nil || !c.had(c.access.Running(ctx, p), "the status of pod %s/%s", p.Namespace, p.Name) {
		return errors.Join(errs...)
	}
	if check {
		errs = append(errs, c.collectCheck(ctx, p))
	}
	ctx, cancel := within(ctx)
	defer cancel()
	forwarding, err := c.access.Forward(ctx, p, 0, defaults.AdminPort)
	if !c.had(err, "the status of pod %s/%s", p.Namespace, p.Name) {
		return errors.Join(errs...)
	}
	defer forwarding.Close()
	for _, document := range documents {
		text, err := forwarding.Get(ctx, "/"+document, maxDocument)
		if c.had(err, "/%s of pod %s/%s", document, p.Namespace, p.Name) {
			errs = append(errs, c.add(prefixOf(p)+"."+document+".json", text))
		}
	}
	return errors.Join(errs...)
}

// collectCheck runs the check in a pod's sidecar, as far as the agent, and adds its report. The
// check makes some short connections to the proxy-server.
func (c *collector) collectCheck(ctx context.Context, p *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	var report, said bytes.Buffer
	code, err := c.access.Exec(ctx, p, sidecar.ProxyClient, []string{"/proxy-client", "check", "--output=json"}, &report, &said)
	if err == nil && report.Len() == 0 {
		err = fmt.Errorf("exit code %d: %s", code, said.String())
	}
	if !c.had(err, "the check in pod %s/%s", p.Namespace, p.Name) {
		return nil
	}
	return c.add(prefixOf(p)+".check.json", report.Bytes())
}

// collectNamespace adds what is around the pods in their namespace: its labels, the
// configuration of its shoot, its events about the pods and their makers, and the names of
// what may stand in the way.
func (c *collector) collectNamespace(ctx context.Context, namespace string, pods []*corev1.Pod) error {
	prefix := "namespaces/" + namespace + "/"
	about := map[string]bool{}
	for _, p := range pods {
		if p.Namespace != namespace {
			continue
		}
		about["Pod/"+p.Name] = true
		for _, o := range p.OwnerReferences {
			about[o.Kind+"/"+o.Name] = true
			if hash := p.Labels["pod-template-hash"]; o.Kind == "ReplicaSet" && hash != "" {
				about["Deployment/"+strings.TrimSuffix(o.Name, "-"+hash)] = true
			}
		}
	}
	err := c.collectEvents(ctx, prefix+"events.txt", namespace, func(o *corev1.ObjectReference) bool { return about[o.Kind+"/"+o.Name] })
	ctx, cancel := within(ctx)
	defer cancel()
	var text bytes.Buffer
	if ns, err := c.access.Core.Namespaces().Get(ctx, namespace, metav1.GetOptions{}); c.had(err, "namespace %s", namespace) {
		fmt.Fprintf(&text, "labels: %s\n", labelsOf(ns.Labels))
	}
	if policies, err := c.networking.NetworkPolicies(namespace).List(ctx, metav1.ListOptions{}); c.had(err, "the NetworkPolicies of namespace %s", namespace) {
		for _, p := range policies.Items {
			fmt.Fprintf(&text, "NetworkPolicy %s: %v\n", p.Name, p.Spec.PolicyTypes)
		}
	}
	if quotas, err := c.access.Core.ResourceQuotas(namespace).List(ctx, metav1.ListOptions{}); c.had(err, "the ResourceQuotas of namespace %s", namespace) {
		for _, q := range quotas.Items {
			fmt.Fprintf(&text, "ResourceQuota %s: %s\n", q.Name, amounts(q.Status.Used, q.Status.Hard))
		}
	}
	if limits, err := c.access.Core.LimitRanges(namespace).List(ctx, metav1.ListOptions{}); c.had(err, "the LimitRanges of namespace %s", namespace) {
		for _, l := range limits.Items {
			fmt.Fprintf(&text, "LimitRange %s\n", l.Name)
		}
	}
	err = errors.Join(err, c.add(prefix+"namespace.txt", text.Bytes()))
	switch cm, cmErr := c.access.Core.ConfigMaps(namespace).Get(ctx, webhook.DefaultConfigMap, metav1.GetOptions{}); {
	case apierrors.IsNotFound(cmErr):
	case c.had(cmErr, "ConfigMap %s of namespace %s", webhook.DefaultConfigMap, namespace):
		err = errors.Join(err, c.add(prefix+"configmap-"+webhook.DefaultConfigMap+".yaml", []byte(cm.Data[webhook.ConfigKey])))
	}
	return err
}

// labelsOf returns labels in a fixed order.
func labelsOf(labels map[string]string) string {
	var all []string
	for name, value := range labels {
		all = append(all, name+"="+value)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// amounts returns how much of a quota is used.
func amounts(used, hard corev1.ResourceList) string {
	var all []string
	for name, most := range hard {
		is := used[name]
		all = append(all, fmt.Sprintf("%s %s of %s", name, is.String(), most.String()))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
