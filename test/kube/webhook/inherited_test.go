// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// testInherited: kube-apiserver accepts the profiles of our containers in place of the
// pod's. It gives them no other by AppArmor's old annotations.
func (in *installed) testInherited(t *testing.T) {
	namespace := in.namespace(t, "inherited", nil)
	profile := "app"
	pod := labelled(nil, func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{
			SELinuxOptions:  &corev1.SELinuxOptions{Type: "app_t", Level: "s0:c1,c2"},
			AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &profile},
		}
	})
	made, err := in.create(t, namespace, pod)
	if err != nil {
		t.Fatal(err)
	}
	in.checkInjected(t, made)
	for _, c := range made.Spec.InitContainers[:2] {
		if got := c.SecurityContext.SELinuxOptions; got == nil || *got != (corev1.SELinuxOptions{Level: "s0:c1,c2"}) {
			t.Errorf("%s has SELinux options %v, want the pod's level alone", c.Name, got)
		}
		if got := c.SecurityContext.AppArmorProfile; got == nil || got.Type != corev1.AppArmorProfileTypeRuntimeDefault {
			t.Errorf("%s has AppArmor profile %v, want RuntimeDefault", c.Name, got)
		}
	}
	// What kube-apiserver writes about the containers itself is no forgery.
	if _, err := in.create(t, namespace, copyOf(made)); err != nil {
		t.Errorf("a copy of the pod: %v", err)
	}
	const annotation = "container.apparmor.security.beta.kubernetes.io/" + initRedirect
	_, err = in.create(t, namespace, labelled(nil, func(p *corev1.Pod) { p.Annotations = map[string]string{annotation: "localhost/evil"} }))
	if said := sentence(t, err); !strings.Contains(said, annotation) {
		t.Errorf("the refusal does not name the annotation: %s", said)
	}
}
