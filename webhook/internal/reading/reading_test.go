// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// TestPages: all pages are read, and none behind an error.
func TestPages(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("no"))
	for _, tt := range []struct {
		name   string
		fail   error // of the second page
		want   []string
		read   bool
		missed int
	}{
		{"all", nil, []string{"", "1", "2"}, true, 0},
		{"forbidden", forbidden, []string{""}, false, 1},
		{"not there", apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, ""), []string{""}, true, 0},
		{"failed", errors.New("broken"), []string{""}, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &Denials{PageSize: 7}
			var got []string
			list := func(_ context.Context, options metav1.ListOptions) (*corev1.PodList, error) {
				if options.Limit != 7 {
					t.Errorf("asked for %d objects", options.Limit)
				}
				if options.Continue == "1" && tt.fail != nil {
					return nil, tt.fail
				}
				got = append(got, options.Continue)
				next := map[string]string{"": "1", "1": "2", "2": ""}[options.Continue]
				return &corev1.PodList{ListMeta: metav1.ListMeta{Continue: next}}, nil
			}
			read := Pages(t.Context(), d, To("list", "pods", "", "the pods"), metav1.ListOptions{}, list, func(*corev1.PodList) {})
			if diff := cmp.Diff(tt.want, got); diff != "" || read != tt.read || len(d.Findings()) != tt.missed {
				t.Errorf("read %v, %d findings, (-want +got):\n%s", read, len(d.Findings()), diff)
			}
		})
	}
}

// TestFindings: what could not be read for one purpose is one finding. It is never well.
func TestFindings(t *testing.T) {
	d := &Denials{}
	for _, namespace := range []string{"a", "b"} {
		for _, resource := range []string{"jobs.batch", "cronjobs.batch"} {
			d.Deny(To("list", resource, namespace, "the workloads"))
		}
	}
	d.Deny(To("list", "nodes", "", "the nodes"))
	var got []string
	for _, f := range d.Findings() {
		if f.Status != report.Skipped {
			t.Errorf("%s is %s", f.Message, f.Status)
		}
		got = append(got, f.Message)
	}
	want := []string{
		"You may not list jobs.batch, cronjobs.batch in namespaces a, b. Not looked at: the workloads.",
		"You may not list nodes. Not looked at: the nodes.",
	}
	if diff := cmp.Diff(want, got); diff != "" || !d.Any() || !d.Lacks("nodes") {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
