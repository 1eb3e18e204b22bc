// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// Labels of the chart's objects.
const (
	labelVersion = "app.kubernetes.io/version"
	labelChart   = "helm.sh/chart"
)

// installation is the webhook's Deployment, with what its configuration says.
type installation struct {
	namespace  string
	service    *corev1.Service
	deployment *appsv1.Deployment
	// config is the operator's configuration. It is nil if it could not be read.
	config *webhook.Config
	images webhook.Images
	// version is what injected pods get in their status. It is empty if not known.
	version string
}

// checkInstallation follows the registration to the Service, its endpoints, the
// Deployment behind it, and that one's configuration and certificate.
func (in *inspection) checkInstallation(ctx context.Context) {
	if in.hook == nil {
		return
	}
	to := in.hook.ClientConfig.Service
	if to == nil {
		in.add(Finding{Check: "service", Group: GroupWebhook, Status: OK, Objects: []string{in.hook.object}, Message: "The API server reaches the webhook by a URL, and not by a Service."})
		in.findDeployment(ctx, "", nil) // for its configuration: another process may answer
	} else {
		if !in.checkService(ctx, to) {
			return
		}
		in.checkDeployment()
		in.checkServingCertificate(ctx)
	}
	if in.install.deployment == nil && !in.denials.Lacks("deployments.apps") {
		in.add(Finding{
			Check: "deployment", Group: GroupWebhook, Status: Skipped, Objects: []string{in.hook.object},
			Message: "No Deployment was found that runs `webhook serve` for it, so its configuration, certificate and versions were not looked at.",
			Next:    "see what answers at the address that the registration has", Commands: []string{"kubectl get mutatingwebhookconfiguration " + in.hook.name + " -o yaml"},
		})
	}
	in.readConfig(ctx)
	in.checkVersions()
}

// logs returns the command that shows the webhook's log.
func (in *inspection) logs() []string {
	if in.install == nil || in.install.deployment == nil {
		return nil
	}
	return []string{fmt.Sprintf("kubectl --namespace %s logs deployment/%s --tail=20", in.install.namespace, in.install.deployment.Name)}
}

// checkService finds the Service and what is behind it. It reports whether the
// Deployment can be looked for.
func (in *inspection) checkService(ctx context.Context, to *admissionv1.ServiceReference) bool {
	object := fmt.Sprintf("Service %s/%s", to.Namespace, to.Name)
	r := reading.To("get", "services", to.Namespace, "the webhook's Service")
	service, err := in.clients.Core.Services(to.Namespace).Get(ctx, to.Name, metav1.GetOptions{})
	if err != nil {
		if in.denials.Note(r, err); isMissing(err) {
			in.add(Finding{
				Check: "service", Group: GroupWebhook, Status: Failure, Objects: []string{object},
				Message: fmt.Sprintf("It does not exist, and %s names it: the API server cannot reach the webhook, and refuses pods with the label.", in.hook.object),
				Next:    "install the webhook again with the command that installed it; or follow docs/install.md, Removal, if it is to go",
			})
		}
		in.install = &installation{namespace: to.Namespace}
		return err != nil && !isMissing(err)
	}
	in.findDeployment(ctx, to.Namespace, labels.SelectorFromSet(service.Spec.Selector))
	in.install.service = service
	ready, read := in.readyEndpoints(ctx, to.Namespace, to.Name, "the webhook's endpoints")
	switch {
	case !read:
	case ready > 0:
		in.add(Finding{Check: "endpoints", Group: GroupWebhook, Status: OK, Objects: []string{object}, Message: fmt.Sprintf("It has %d ready %s.", ready, report.Plural(ready, "endpoint"))})
	case in.install.deployment != nil && in.install.deployment.Status.ReadyReplicas == 0:
		// The Deployment is the cause, and is reported.
	default:
		in.add(Finding{
			Check: "endpoints", Group: GroupWebhook, Status: Failure, Objects: []string{object},
			Message:  "It has no ready endpoint, so the API server cannot reach the webhook, and refuses pods with the label.",
			Next:     "compare the Service's selector with the labels of the webhook's pods",
			Commands: []string{fmt.Sprintf("kubectl --namespace %s get pods,endpointslices -o wide", to.Namespace)},
		})
	}
	return true
}

// readyEndpoints returns how many ready endpoints a Service has.
func (in *inspection) readyEndpoints(ctx context.Context, namespace, service, why string) (ready int, read bool) {
	read = reading.Pages(ctx, &in.denials, reading.To("list", "endpointslices.discovery.k8s.io", namespace, why), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service},
		in.clients.Discovery.EndpointSlices(namespace).List,
		func(page *discoveryv1.EndpointSliceList) {
			for _, slice := range page.Items {
				for _, e := range slice.Endpoints {
					if e.Conditions.Ready == nil || *e.Conditions.Ready {
						ready += len(e.Addresses)
					}
				}
			}
		})
	return ready, read
}

// findDeployment finds the webhook's Deployment: the one whose pods a selector accepts.
// Without a selector it is the one with the chart's labels, in any namespace.
func (in *inspection) findDeployment(ctx context.Context, namespace string, selector labels.Selector) {
	in.install = &installation{namespace: namespace}
	options := metav1.ListOptions{}
	if selector == nil {
		options.LabelSelector = "app.kubernetes.io/component=webhook"
	}
	reading.Pages(ctx, &in.denials, reading.To("list", "deployments.apps", namespace, "the webhook's Deployment"), options,
		in.clients.Apps.Deployments(namespace).List,
		func(page *appsv1.DeploymentList) {
			for i := range page.Items {
				d := &page.Items[i]
				if in.install.deployment == nil && (selector == nil || selector.Matches(labels.Set(d.Spec.Template.Labels))) && container(&d.Spec.Template.Spec) != nil {
					in.install.deployment, in.install.namespace = d, d.Namespace
				}
			}
		})
}

// container returns the webhook's container: the one that runs `webhook serve`.
func container(spec *corev1.PodSpec) *corev1.Container {
	for i := range spec.Containers {
		if slices.Contains(spec.Containers[i].Args, "serve") && argument(spec.Containers[i].Args, "config") != "" {
			return &spec.Containers[i]
		}
	}
	return nil
}

// argument returns the value of an argument --name=value, or "".
func argument(args []string, name string) string {
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--"+name+"="); ok {
			return value
		}
	}
	return ""
}

// checkDeployment looks at the state of the webhook's Deployment.
func (in *inspection) checkDeployment() {
	d := in.install.deployment
	if d == nil {
		return
	}
	object := fmt.Sprintf("Deployment %s/%s", d.Namespace, d.Name)
	describe := []string{
		fmt.Sprintf("kubectl --namespace %s get pods", d.Namespace),
		fmt.Sprintf("kubectl --namespace %s describe deployment %s", d.Namespace, d.Name),
	}
	wanted := int32(1)
	if d.Spec.Replicas != nil {
		wanted = *d.Spec.Replicas
	}
	f := Finding{Check: "deployment", Group: GroupWebhook, Objects: []string{object}}
	switch ready := d.Status.ReadyReplicas; {
	case wanted == 0:
		f.Status, f.Message, f.Next = Failure, "It has 0 replicas: nothing answers the API server, and it refuses pods with the label.", "give it two replicas"
		f.Commands = []string{fmt.Sprintf("kubectl --namespace %s scale deployment %s --replicas=2", d.Namespace, d.Name)}
	case ready == 0:
		f.Status, f.Message = Failure, fmt.Sprintf("None of its %d replicas is ready: the API server refuses pods with the label.%s", wanted, conditionOf(d))
		f.Next, f.Commands = "see why its pods are not ready, in their events and logs", append(describe, in.logs()...)
	case ready < wanted || d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas < wanted:
		f.Status, f.Message = Warning, fmt.Sprintf("%d of %d replicas are ready, and %d are of the present version: a rollout goes on, or is stuck.%s", ready, wanted, d.Status.UpdatedReplicas, conditionOf(d))
		f.Next, f.Commands = "wait for the rollout", []string{fmt.Sprintf("kubectl --namespace %s rollout status deployment/%s", d.Namespace, d.Name)}
	case wanted == 1:
		f.Status, f.Message, f.Next = Warning, "It has one replica: while its node restarts, pods with the label are refused.", "set the chart's value replicas to 2"
	default:
		f.Status, f.Message = OK, fmt.Sprintf("%d of %d replicas are ready.", ready, wanted)
	}
	in.add(f)
}

// conditionOf returns a sentence with what a Deployment's conditions complain about.
func conditionOf(d *appsv1.Deployment) string {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return " " + report.Sentence(report.OneLine(c.Message))
		}
	}
	return ""
}

// readConfig reads the operator's configuration, as the webhook's pods mount it.
func (in *inspection) readConfig(ctx context.Context) {
	d := in.install.deployment
	if d == nil {
		return
	}
	c := container(&d.Spec.Template.Spec)
	in.install.images = webhook.Images{ProxyClient: argument(c.Args, "proxy-client-image"), InitRedirect: argument(c.Args, "init-redirect-image")}
	name, key := mountedConfigMap(&d.Spec.Template.Spec, c, argument(c.Args, "config"))
	if name == "" {
		return
	}
	object := fmt.Sprintf("ConfigMap %s/%s", d.Namespace, name)
	cm, err := in.clients.Core.ConfigMaps(d.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		if in.denials.Note(reading.To("get", "configmaps", d.Namespace, "the webhook's configuration"), err); isMissing(err) {
			in.add(Finding{
				Check: "configuration", Group: GroupWebhook, Status: Failure, Objects: []string{object},
				Message: "The webhook's configuration does not exist: its pods cannot start.",
				Next:    "install the webhook again with the command that installed it",
			})
		}
		return
	}
	config, err := webhook.ParseConfig(object, []byte(cm.Data[key]))
	if err != nil {
		in.add(Finding{
			Check: "configuration", Group: GroupWebhook, Status: Failure, Objects: []string{object},
			Message: report.Sentence(fmt.Sprintf("The webhook cannot use it, and keeps the one before until it restarts: %v", err)),
			Next:    "correct the values, and upgrade the release", Commands: []string{fmt.Sprintf("kubectl --namespace %s get configmap %s -o yaml", d.Namespace, name)},
		})
		return
	}
	in.install.config = config
	in.add(Finding{Check: "configuration", Group: GroupWebhook, Status: OK, Objects: []string{object}, Message: "The webhook's configuration can be used."})
}

// mountedConfigMap returns the ConfigMap and the key that a container finds at a path.
func mountedConfigMap(spec *corev1.PodSpec, c *corev1.Container, path string) (name, key string) {
	for _, m := range c.VolumeMounts {
		rest, ok := strings.CutPrefix(path, strings.TrimSuffix(m.MountPath, "/")+"/")
		if !ok {
			continue
		}
		for _, v := range spec.Volumes {
			if v.Name == m.Name && v.ConfigMap != nil {
				return v.ConfigMap.Name, rest
			}
		}
	}
	return "", ""
}

// checkVersions says which versions of the chart and the webhook are installed.
func (in *inspection) checkVersions() {
	d := in.install.deployment
	if d == nil {
		return
	}
	c := container(&d.Spec.Template.Spec)
	in.install.version = d.Labels[labelVersion]
	if in.install.config != nil {
		if v := in.install.config.Version(); v != "" {
			in.install.version = v
		}
	}
	from := ""
	if chart := d.Labels[labelChart]; chart != "" {
		from = " of chart " + chart
	}
	message := fmt.Sprintf("It runs %s%s.", c.Image, from)
	if in.install.version != "" {
		message += " Pods get version " + in.install.version + "."
	}
	in.add(Finding{Check: "version", Group: GroupWebhook, Status: OK, Objects: []string{fmt.Sprintf("Deployment %s/%s", d.Namespace, d.Name)}, Message: message})
}
