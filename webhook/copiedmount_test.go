// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

const tokenFolder = "/var/run/secrets/kubernetes.io/serviceaccount"

// injectMesh does with a pod what Linkerd's webhook does: the containers that it adds get
// the first container's mount of the ServiceAccount's folder
// (linkerd/linkerd2, pkg/inject/inject.go, commit b24cd40 of 21 August 2026).
func injectMesh(pod *corev1.Pod) {
	var mounts []corev1.VolumeMount
	for _, m := range pod.Spec.Containers[0].VolumeMounts {
		if m.MountPath == tokenFolder {
			mounts = append(mounts, m)
		}
	}
	pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: "linkerd-init", Image: "mesh", VolumeMounts: mounts})
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "linkerd-proxy", Image: "mesh", VolumeMounts: mounts})
}

// A webhook that is called after ours may copy the first container's mount of the
// ServiceAccount's folder. In the classic order that is ours, which has an empty folder
// there, and the pod is refused. In the native order, or if the other webhook is called
// first, it is the app's.
func TestAnotherWebhookCopiesTheTokensMount(t *testing.T) {
	for _, c := range []struct {
		name           string
		classic, first bool
		refused        bool
	}{
		{name: "classic order", classic: true, refused: true},
		{name: "classic order, the other webhook first", classic: true, first: true},
		{name: "native order"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := goldenRequest(t, "plain")
			if c.classic {
				r.NativeSidecar = nativeNo
			}
			// kube-apiserver has added the token's mount before it calls a webhook.
			r.Pod.Spec.Volumes = append(r.Pod.Spec.Volumes, corev1.Volume{Name: "kube-api-access"})
			first := &r.Pod.Spec.Containers[0]
			first.VolumeMounts = append(first.VolumeMounts, corev1.VolumeMount{Name: "kube-api-access", MountPath: tokenFolder, ReadOnly: true})
			r = admitted(t, r)
			if c.first {
				injectMesh(r.Pod)
			}
			r.Pod = mutated(t, r, r.Pod).Pod
			if !c.first {
				injectMesh(r.Pod)
			}
			again := Mutate(r)
			if c.refused {
				if again.Decision != Refuse || again.Reason != ReasonForeignName || !strings.Contains(again.Message, `"linkerd-init" mounts volume "shoot-proxy-no-token"`) {
					t.Errorf("%s (%s): %s; want a refusal that names container and volume", again.Decision, again.Reason, again.Message)
				}
				return
			}
			if again.Decision == Refuse {
				t.Errorf("%s (%s): %s", again.Decision, again.Reason, again.Message)
			}
			for _, container := range containers(&r.Pod.Spec) {
				if strings.HasPrefix(container.Name, "linkerd-") && container.VolumeMounts[0].Name != "kube-api-access" {
					t.Errorf("%s mounts %v", container.Name, container.VolumeMounts)
				}
			}
		})
	}
}
