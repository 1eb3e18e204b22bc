// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (in *installed) testDown(t *testing.T) {
	namespace := in.namespace(t, "down", nil)
	in.stop(t)
	for what, create := range map[string]func() error{
		"a labelled pod": func() error {
			_, err := in.create(t, namespace, labelled(nil))
			return err
		},
		"its dry run": func() error {
			_, err := in.rehearse(t, namespace, labelled(nil))
			return err
		},
	} {
		err := create()
		if err == nil {
			t.Errorf("%s is accepted without a webhook", what)
		} else if !strings.Contains(err.Error(), "failed calling webhook") {
			t.Errorf("%s is refused for another reason: %v", what, err)
		}
	}
	pod, err := in.create(t, namespace, unlabelled())
	if err != nil {
		t.Fatalf("an unlabelled pod needs the webhook: %v", err)
	}
	checkUntouched(t, pod)

	in.start(t)
	if pod, err = in.create(t, namespace, labelled(nil)); err != nil {
		t.Fatalf("a labelled pod is refused although the webhook is back: %v", err)
	}
	in.checkInjected(t, pod)
}

func (in *installed) testRemoval(t *testing.T) {
	namespace := in.namespace(t, "removed", nil)
	in.remove(t, in.chart)
	in.settle(t)
	in.absent(t, in.chart)
	pod, err := in.create(t, namespace, labelled(nil))
	if err != nil {
		t.Fatalf("a labelled pod is refused although the chart is gone: %v", err)
	}
	checkUntouched(t, pod)
	roles, err := in.client.RbacV1().ClusterRoles().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range roles.Items {
		if strings.Contains(role.Name, release) {
			t.Errorf("ClusterRole %s is left", role.Name)
		}
	}
}
