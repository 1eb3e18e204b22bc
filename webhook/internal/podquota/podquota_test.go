// SPDX-License-Identifier: Apache-2.0

package podquota

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func list(name corev1.ResourceName, amount string) corev1.ResourceList {
	return corev1.ResourceList{name: resource.MustParse(amount)}
}

// ours are the two containers with the chart's default amounts.
func ours() []*corev1.Container {
	container := func(name, request, limit string) *corev1.Container {
		return &corev1.Container{Name: name, Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse(request)},
			Limits:   list(corev1.ResourceMemory, limit),
		}}
	}
	return []*corev1.Container{container(initRedirect, "16Mi", "64Mi"), container(proxyClient, "32Mi", "512Mi")}
}

// wantProblem expects one problem that begins so, or none if want is empty.
func wantProblem(t *testing.T, got []Problem, want string) {
	t.Helper()
	switch {
	case want == "" && len(got) > 0, want != "" && (len(got) != 1 || !strings.HasPrefix(got[0].Message, want)):
		t.Errorf("got %+v, want %q", got, want)
	}
}

func TestOfQuota(t *testing.T) {
	defaults := []corev1.LimitRange{{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Default: list(corev1.ResourceCPU, "1")}}}}}
	for _, tt := range []struct {
		name    string
		hard    corev1.ResourceList
		used    corev1.ResourceList
		scopes  []corev1.ResourceQuotaScope
		ranges  []corev1.LimitRange
		counted bool
		want    string
	}{
		{"room", list(corev1.ResourceLimitsMemory, "2Gi"), nil, nil, nil, false, ""},
		{"of something else", list(corev1.ResourcePods, "0"), nil, nil, nil, false, ""},
		{"limits.cpu", list(corev1.ResourceLimitsCPU, "10"), nil, nil, nil, false, "It counts limits.cpu, so every container needs one, and init-redirect and proxy-client have none"},
		{"limits.cpu with a default", list(corev1.ResourceLimitsCPU, "10"), nil, nil, defaults, false, ""},
		{"requests.cpu", list(corev1.ResourceRequestsCPU, "10"), nil, nil, nil, false, ""},
		{"no room", list(corev1.ResourceLimitsMemory, "2Gi"), list(corev1.ResourceLimitsMemory, "1800Mi"), nil, nil, false, "248Mi of limits.memory is left, and proxy-client alone needs 512Mi"},
		{"no room, and it is counted", list(corev1.ResourceLimitsMemory, "2Gi"), list(corev1.ResourceLimitsMemory, "1800Mi"), nil, nil, true, ""},
		{"for pods with a deadline", list(corev1.ResourceLimitsCPU, "10"), nil, []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating}, nil, false, ""},
		{"for pods without one", list(corev1.ResourceLimitsCPU, "10"), nil, []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotTerminating}, nil, false, "It counts limits.cpu"},
		{"for pods without requests", list(corev1.ResourceLimitsCPU, "10"), nil, []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}, nil, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: tt.hard, Scopes: tt.scopes}, Status: corev1.ResourceQuotaStatus{Used: tt.used}}
			wantProblem(t, OfQuota(q, &corev1.Pod{}, ours(), tt.ranges, tt.counted), tt.want)
		})
	}
}

func TestOfLimitRange(t *testing.T) {
	for _, tt := range []struct {
		name string
		item corev1.LimitRangeItem
		want string
	}{
		{"room", corev1.LimitRangeItem{Max: list(corev1.ResourceMemory, "1Gi"), Min: list(corev1.ResourceMemory, "16Mi"), MaxLimitRequestRatio: list(corev1.ResourceMemory, "16")}, ""},
		{"maximum", corev1.LimitRangeItem{Max: list(corev1.ResourceMemory, "256Mi")}, "proxy-client's memory limit 512Mi is more than the maximum 256Mi"},
		{"minimum", corev1.LimitRangeItem{Min: list(corev1.ResourceMemory, "20Mi")}, "init-redirect's memory request 16Mi is less than the minimum 20Mi"},
		{"ratio", corev1.LimitRangeItem{MaxLimitRequestRatio: list(corev1.ResourceMemory, "15")}, "proxy-client's memory limit 512Mi is more than 15 times its request 32Mi"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.item.Type = corev1.LimitTypeContainer
			r := corev1.LimitRange{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{tt.item}}}
			wantProblem(t, OfLimitRange(r, ours()), tt.want)
			r.Spec.Limits[0].Type = corev1.LimitTypePersistentVolumeClaim
			wantProblem(t, OfLimitRange(r, ours()), "")
		})
	}
}
