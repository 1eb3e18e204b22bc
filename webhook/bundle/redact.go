// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"maps"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// leftOut replaces a value that is not in the bundle.
const leftOut = "[left out]"

// ours tells our containers from those of others.
type ours func(container string) bool

// meta returns what the bundle has of an object's metadata. Of annotations that are not
// ours it has the names.
func meta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	kept := metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, Generation: m.Generation,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
		Labels: maps.Clone(m.Labels), Annotations: maps.Clone(m.Annotations),
	}
	for name := range kept.Annotations {
		if !strings.HasPrefix(name, webhook.AnnotationPrefix) {
			kept.Annotations[name] = leftOut
		}
	}
	for _, o := range m.OwnerReferences {
		kept.OwnerReferences = append(kept.OwnerReferences, metav1.OwnerReference{APIVersion: o.APIVersion, Kind: o.Kind, Name: o.Name, UID: o.UID, Controller: o.Controller})
	}
	return kept
}

// pod returns what the bundle has of a pod.
func pod(p *corev1.Pod, is ours) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: meta(&p.ObjectMeta),
		Spec:       podSpec(&p.Spec, is),
		Status:     podStatus(&p.Status, is),
	}
}

func podSpec(s *corev1.PodSpec, is ours) corev1.PodSpec {
	kept := corev1.PodSpec{
		NodeName: s.NodeName, RestartPolicy: s.RestartPolicy, TerminationGracePeriodSeconds: s.TerminationGracePeriodSeconds,
		DNSPolicy: s.DNSPolicy, DNSConfig: s.DNSConfig, HostAliases: s.HostAliases,
		ServiceAccountName: s.ServiceAccountName, AutomountServiceAccountToken: s.AutomountServiceAccountToken,
		HostNetwork: s.HostNetwork, HostPID: s.HostPID, HostUsers: s.HostUsers, ShareProcessNamespace: s.ShareProcessNamespace,
		SecurityContext: s.SecurityContext, ImagePullSecrets: s.ImagePullSecrets, RuntimeClassName: s.RuntimeClassName,
		PriorityClassName: s.PriorityClassName, Resources: s.Resources, OS: s.OS,
	}
	for i := range s.InitContainers {
		kept.InitContainers = append(kept.InitContainers, container(&s.InitContainers[i], is))
	}
	for i := range s.Containers {
		kept.Containers = append(kept.Containers, container(&s.Containers[i], is))
	}
	for _, e := range s.EphemeralContainers {
		c := corev1.Container(e.EphemeralContainerCommon)
		kept.EphemeralContainers = append(kept.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon(container(&c, is))})
	}
	for i := range s.Volumes {
		kept.Volumes = append(kept.Volumes, volume(&s.Volumes[i]))
	}
	return kept
}

// container returns what the bundle has of a container: ours without foreign environment
// variables, and of others neither command nor arguments, values, probes and hooks, all of
// which may have passwords.
func container(c *corev1.Container, is ours) corev1.Container {
	kept := corev1.Container{
		Name: c.Name, Image: c.Image, ImagePullPolicy: c.ImagePullPolicy, Ports: c.Ports, Resources: c.Resources,
		RestartPolicy: c.RestartPolicy, SecurityContext: c.SecurityContext, VolumeMounts: c.VolumeMounts,
	}
	mine := is(c.Name)
	for _, e := range c.Env {
		if !mine || !knownVariable(e.Name) {
			e.Value, e.ValueFrom = leftOut, nil
		}
		kept.Env = append(kept.Env, e)
	}
	if mine {
		kept.Command, kept.Args = c.Command, c.Args
		kept.StartupProbe, kept.LivenessProbe, kept.ReadinessProbe, kept.Lifecycle = c.StartupProbe, c.LivenessProbe, c.ReadinessProbe, c.Lifecycle
	}
	return kept
}

// knownVariable reports whether an environment variable is a setting of our programs or of
// Go's runtime.
func knownVariable(name string) bool {
	return slices.Contains([]string{"GOMEMLIMIT", "GOGC", "GODEBUG", "GOMAXPROCS"}, name) ||
		strings.HasPrefix(name, "PROXY_CLIENT_") || strings.HasPrefix(name, "INIT_REDIRECT_")
}

// volume returns a volume's name and what it is made of. Parameters of storage drivers may
// be secret.
func volume(v *corev1.Volume) corev1.Volume {
	kept := corev1.Volume{Name: v.Name}
	switch {
	case v.CSI != nil:
		kept.CSI = &corev1.CSIVolumeSource{Driver: v.CSI.Driver}
	case v.PersistentVolumeClaim != nil:
		kept.PersistentVolumeClaim = v.PersistentVolumeClaim
	default: // names of objects, and paths
		kept.Secret, kept.ConfigMap, kept.EmptyDir, kept.HostPath = v.Secret, v.ConfigMap, v.EmptyDir, v.HostPath
	}
	if v.Projected != nil {
		kept.Projected = &corev1.ProjectedVolumeSource{DefaultMode: v.Projected.DefaultMode}
		for _, s := range v.Projected.Sources {
			kept.Projected.Sources = append(kept.Projected.Sources, corev1.VolumeProjection{
				Secret: s.Secret, ConfigMap: s.ConfigMap, ServiceAccountToken: s.ServiceAccountToken,
			})
		}
	}
	return kept
}

func podStatus(s *corev1.PodStatus, is ours) corev1.PodStatus {
	kept := corev1.PodStatus{
		Phase: s.Phase, Reason: s.Reason, Message: s.Message, Conditions: s.Conditions, QOSClass: s.QOSClass, StartTime: s.StartTime,
		HostIP: s.HostIP, HostIPs: s.HostIPs, PodIP: s.PodIP, PodIPs: s.PodIPs,
	}
	kept.InitContainerStatuses = containerStatuses(s.InitContainerStatuses, is)
	kept.ContainerStatuses = containerStatuses(s.ContainerStatuses, is)
	kept.EphemeralContainerStatuses = containerStatuses(s.EphemeralContainerStatuses, is)
	return kept
}

// containerStatuses returns statuses without the last words of foreign containers, which
// may be a piece of their logs.
func containerStatuses(all []corev1.ContainerStatus, is ours) []corev1.ContainerStatus {
	var kept []corev1.ContainerStatus
	for i := range all {
		s := all[i].DeepCopy()
		s.Resources, s.AllocatedResources, s.AllocatedResourcesStatus = nil, nil, nil
		for _, state := range []*corev1.ContainerState{&s.State, &s.LastTerminationState} {
			if ended := state.Terminated; ended != nil && ended.Message != "" && !is(s.Name) {
				ended.Message = leftOut
			}
		}
		kept = append(kept, *s)
	}
	return kept
}

// deployment returns what the bundle has of the webhook's Deployment.
func deployment(d *appsv1.Deployment, is ours) *appsv1.Deployment {
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: meta(&d.ObjectMeta),
		Spec: appsv1.DeploymentSpec{
			Replicas: d.Spec.Replicas, Selector: d.Spec.Selector, Strategy: d.Spec.Strategy,
			Template: corev1.PodTemplateSpec{ObjectMeta: meta(&d.Spec.Template.ObjectMeta), Spec: podSpec(&d.Spec.Template.Spec, is)},
		},
		Status: d.Status,
	}
}

// service returns what the bundle has of the webhook's Service.
func service(s *corev1.Service) *corev1.Service {
	return &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta(&s.ObjectMeta), Spec: s.Spec}
}

// registration returns what the bundle has of the webhook's registration. Its caBundle is
// a certificate, which is public.
func registration(r *admissionv1.MutatingWebhookConfiguration) *admissionv1.MutatingWebhookConfiguration {
	return &admissionv1.MutatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingWebhookConfiguration"},
		ObjectMeta: meta(&r.ObjectMeta), Webhooks: r.Webhooks,
	}
}

// node returns what the bundle has of a node: its versions, addresses and conditions.
func node(n *corev1.Node) *corev1.Node {
	kept := &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, CreationTimestamp: n.CreationTimestamp},
		Spec:       corev1.NodeSpec{PodCIDRs: n.Spec.PodCIDRs, Unschedulable: n.Spec.Unschedulable},
		Status:     corev1.NodeStatus{NodeInfo: n.Status.NodeInfo, Addresses: n.Status.Addresses, Conditions: n.Status.Conditions},
	}
	kept.Status.NodeInfo.MachineID, kept.Status.NodeInfo.SystemUUID, kept.Status.NodeInfo.BootID = "", "", ""
	return kept
}
