// SPDX-License-Identifier: Apache-2.0

package poddiff

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// injected returns an injected pod.
func injected() *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{
			{Name: initRedirect, Image: "init:1", Args: []string{"--shoot-pod-cidr=100.64.0.0/12"}},
			{Name: proxyClient, Image: "client:1", Args: []string{"--shoot-pod-cidr=100.64.0.0/12", "--proxy-server=a:1", "--proxy-server=b:1"}, Resources: corev1.ResourceRequirements{
				Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
			}},
		},
		Containers: []corev1.Container{{Name: "app", Image: "app:1"}},
		Volumes:    []corev1.Volume{{Name: "ca", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "ca", Items: []corev1.KeyToPath{{Key: "ca.crt"}}}}}},
	}}
}

// TestSettings: each setting that differs is named with both values. What the API server
// adds is no difference.
func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*corev1.PodSpec)
		want   []string
	}{
		{"nothing", func(*corev1.PodSpec) {}, nil},
		{"what the API server adds", func(s *corev1.PodSpec) {
			s.InitContainers[0].TerminationMessagePath = "/dev/termination-log"
			mode := int32(0o644)
			s.Volumes[0].Secret.DefaultMode = &mode
			s.Containers[0].Image = "app:2"
		}, nil},
		{"images", func(s *corev1.PodSpec) { s.InitContainers[0].Image, s.InitContainers[1].Image = "init:2", "client:2" }, []string{
			"image of init-redirect init:1, now init:2", "image of proxy-client client:1, now client:2",
		}},
		{"a flag of both", func(s *corev1.PodSpec) {
			s.InitContainers[0].Args[0], s.InitContainers[1].Args[0] = "--shoot-pod-cidr=100.64.0.0/11", "--shoot-pod-cidr=100.64.0.0/11"
		}, []string{"--shoot-pod-cidr 100.64.0.0/12, now 100.64.0.0/11"}},
		{"a list", func(s *corev1.PodSpec) { s.InitContainers[1].Args = s.InitContainers[1].Args[:2] }, []string{"--proxy-server a:1,b:1, now a:1"}},
		{"a new flag", func(s *corev1.PodSpec) { s.InitContainers[1].Args = append(s.InitContainers[1].Args, "--mode=grpc") }, []string{"--mode not set, now grpc"}},
		{"memory", func(s *corev1.PodSpec) {
			s.InitContainers[1].Resources.Limits[corev1.ResourceMemory] = resource.MustParse("1Gi")
		}, []string{"memory limit of proxy-client 512Mi, now 1Gi"}},
		{"order", func(s *corev1.PodSpec) {
			s.Containers = append([]corev1.Container{s.InitContainers[1]}, s.Containers...)
			s.InitContainers = s.InitContainers[:1]
		}, []string{"proxy-client is a native sidecar, now the first container"}},
		{"readiness probe", func(s *corev1.PodSpec) { s.InitContainers[1].ReadinessProbe = &corev1.Probe{} }, []string{"readiness probe of proxy-client: no, now yes"}},
		{"Secret", func(s *corev1.PodSpec) { s.Volumes[0].Secret.SecretName = "other" }, []string{"volume ca Secret ca (ca.crt), now Secret other (ca.crt)"}},
		{"ConfigMap", func(s *corev1.PodSpec) {
			s.Volumes[0].VolumeSource = corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Items: []corev1.KeyToPath{{Key: "ca"}}}}
		}, []string{"volume ca Secret ca (ca.crt), now ConfigMap cm (ca)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wants := injected()
			tt.change(&wants.Spec)
			got := Settings(injected(), wants)
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
