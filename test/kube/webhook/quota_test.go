// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// quotaSentence matches the answer of a quota that docs/systems.md shows.
var quotaSentence = regexp.MustCompile("`(must specify limits.cpu for: [^`]+)`")

// testQuota tests what docs/systems.md says about a quota on CPU limits, and about a
// LimitRange that sets such limits in a namespace.
func (in *installed) testQuota(t *testing.T) {
	document, err := os.ReadFile("../../../docs/systems.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := quotaSentence.FindSubmatch(document)
	if documented == nil {
		t.Fatal("docs/systems.md does not say what a quota answers")
	}
	namespace := in.namespace(t, "quota", nil)
	cpu := func(amount string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(amount)}
	}
	quotas := in.client.CoreV1().ResourceQuotas(namespace)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "cpu"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourceLimitsCPU: resource.MustParse("10")}},
	}
	if _, err := quotas.Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the quota to be known", func(ctx context.Context) error {
		known, err := quotas.Get(ctx, "cpu", metav1.GetOptions{})
		if err == nil && len(known.Status.Hard) == 0 {
			err = errors.New("it has no status")
		}
		return err
	})
	bounded := labelled(nil, func(pod *corev1.Pod) {
		for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range containers {
				containers[i].Resources.Limits = cpu("100m")
			}
		}
	})
	if _, err := in.rehearse(t, namespace, bounded); err == nil || !strings.HasSuffix(err.Error(), string(documented[1])) {
		t.Errorf("the pod is answered with %v, and docs/systems.md says %q", err, documented[1])
	}

	limits := &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "cpu"},
		Spec:       corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Default: cpu("200m")}}},
	}
	if _, err := in.client.CoreV1().LimitRanges(namespace).Create(t.Context(), limits, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a pod within the quota", func(context.Context) error {
		pod, err := in.rehearse(t, namespace, bounded)
		if err != nil {
			return err
		}
		in.checkInjected(t, pod)
		for _, c := range pod.Spec.InitContainers[:2] {
			if got := c.Resources.Limits.Cpu().String(); got != "200m" {
				return fmt.Errorf("%s has the CPU limit %s, and the LimitRange says 200m", c.Name, got)
			}
		}
		return nil
	})
}
