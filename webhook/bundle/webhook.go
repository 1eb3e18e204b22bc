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

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/shoot-proxy/proxy-client/webhook/dryrun"
	"github.com/shoot-proxy/proxy-client/webhook/sidecar"
)

// pageSize is how many objects the API server is asked for at once.
const pageSize = 500

// collectWebhook adds the webhook's registration, its Service, Deployment, configuration,
// pods, logs and events.
func (c *collector) collectWebhook(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 4*requestLimit)
	defer cancel()
	all, err := c.admission.MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if !c.had(err, "the registrations of webhooks") {
		return nil
	}
	var found []*admissionv1.MutatingWebhookConfiguration
	var names []string // of the registrations, and their webhooks
	var to *admissionv1.ServiceReference
	for i := range all.Items {
		r := &all.Items[i]
		for _, hook := range r.Webhooks {
			names = append(names, r.Name+": "+hook.Name)
			if hook.Name == dryrun.HookName {
				found = append(found, registration(r))
				to = cmp.Or(to, hook.ClientConfig.Service)
			}
		}
	}
	err = c.add("webhook/mutating-webhooks.txt", []byte(strings.Join(append(names, ""), "\n")))
	if len(found) > 0 {
		err = errors.Join(err, addObjects(c, "webhook/registration.yaml", found))
	}
	if to == nil {
		c.missing = append(c.missing, "the webhook's Service, Deployment and pods: no registration names a Service of it")
		return err
	}
	return errors.Join(err, c.collectInstallation(ctx, to.Namespace, to.Name))
}

// collectInstallation adds what is behind the webhook's Service.
func (c *collector) collectInstallation(ctx context.Context, namespace, name string) error {
	svc, err := c.access.Core.Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if !c.had(err, "the webhook's Service %s/%s", namespace, name) {
		return nil
	}
	if err := c.addObject("webhook/service.yaml", service(svc)); err != nil {
		return err
	}
	err = c.collectEvents(ctx, "webhook/events.txt", namespace, nil)
	if len(svc.Spec.Selector) == 0 {
		return err
	}
	selector := labels.SelectorFromSet(svc.Spec.Selector)
	all := func(string) bool { return true } // the webhook's pods are ours
	deployments, listErr := c.access.Apps.Deployments(namespace).List(ctx, metav1.ListOptions{})
	if c.had(listErr, "the webhook's Deployment") {
		for i := range deployments.Items {
			d := &deployments.Items[i]
			if selector.Matches(labels.Set(d.Spec.Template.Labels)) {
				err = errors.Join(err, c.addObject("webhook/deployment-"+d.Name+".yaml", deployment(d, all)), c.collectConfiguration(ctx, namespace, &d.Spec.Template.Spec))
			}
		}
	}
	pods, listErr := c.access.Core.Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if !c.had(listErr, "the webhook's pods") {
		return err
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		err = errors.Join(err, c.addObject("webhook/"+p.Name+".yaml", pod(p, all)))
		for _, container := range p.Spec.Containers {
			err = errors.Join(err, c.collectLogs(ctx, "webhook/"+p.Name, p, container.Name))
		}
	}
	return err
}

// collectConfiguration adds the ConfigMaps that the webhook mounts. They are its own.
func (c *collector) collectConfiguration(ctx context.Context, namespace string, spec *corev1.PodSpec) error {
	var errs []error
	for _, v := range spec.Volumes {
		if v.ConfigMap == nil {
			continue
		}
		cm, err := c.access.Core.ConfigMaps(namespace).Get(ctx, v.ConfigMap.Name, metav1.GetOptions{})
		if !c.had(err, "the webhook's configuration") {
			continue
		}
		if text, ok := cm.Data[webhookConfigKey]; ok {
			errs = append(errs, c.add("webhook/config.yaml", []byte(text)))
		}
	}
	return errors.Join(errs...)
}

// webhookConfigKey is the key with the configuration in the chart's ConfigMap.
const webhookConfigKey = "config.yaml"

// collectNodes adds what is known of the nodes.
func (c *collector) collectNodes(ctx context.Context) error {
	ctx, cancel := within(ctx)
	defer cancel()
	nodes, err := c.access.Core.Nodes().List(ctx, metav1.ListOptions{Limit: pageSize})
	if !c.had(err, "the nodes") {
		return nil
	}
	if nodes.Continue != "" {
		c.missing = append(c.missing, fmt.Sprintf("the nodes behind the first %d", pageSize))
	}
	var kept []*corev1.Node
	for i := range nodes.Items {
		kept = append(kept, node(&nodes.Items[i]))
	}
	return addObjects(c, "nodes.yaml", kept)
}

// collectLogs adds the log of a container, and that of its run before.
func (c *collector) collectLogs(ctx context.Context, prefix string, p *corev1.Pod, container string) error {
	ctx, cancel := within(ctx)
	defer cancel()
	var errs []error
	for name, previous := range map[string]bool{".log": false, ".previous.log": true} {
		if previous && !restarted(p, container) {
			continue
		}
		text, err := c.access.Log(ctx, p, container, sidecar.LogOptions{Lines: logLines, Bytes: logBytes, Previous: previous})
		if c.had(err, "%s.%s%s", prefix, container, name) {
			errs = append(errs, c.add(prefix+"."+container+name, text))
		}
	}
	return errors.Join(errs...)
}

// restarted reports whether a container has run before.
func restarted(p *corev1.Pod, container string) bool {
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if s.Name == container {
			return s.RestartCount > 0
		}
	}
	return false
}

// collectEvents adds the events of a namespace that are about one of the objects, or all
// events if there is no selection.
func (c *collector) collectEvents(ctx context.Context, name, namespace string, about func(*corev1.ObjectReference) bool) error {
	ctx, cancel := within(ctx)
	defer cancel()
	events, err := c.access.Core.Events(namespace).List(ctx, metav1.ListOptions{Limit: 4 * pageSize})
	if !c.had(err, "the events of namespace %s", namespace) {
		return nil
	}
	slices.SortStableFunc(events.Items, func(a, b corev1.Event) int { return when(&a).Compare(when(&b)) })
	var text bytes.Buffer
	for i := range events.Items {
		e := &events.Items[i]
		if about != nil && !about(&e.InvolvedObject) {
			continue
		}
		fmt.Fprintf(&text, "%s %s %s %s/%s x%d: %s\n", when(e).UTC().Format(time.RFC3339), e.Type, e.Reason,
			e.InvolvedObject.Kind, e.InvolvedObject.Name, max(e.Count, 1), strings.Join(strings.Fields(e.Message), " "))
	}
	return c.add(name, text.Bytes())
}

// when returns when an event was last seen.
func when(e *corev1.Event) time.Time {
	switch {
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	default:
		return e.CreationTimestamp.Time
	}
}
