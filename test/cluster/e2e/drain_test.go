// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
)

// TestNodeIsDrained: while the only node is drained, there is no room for another
// webhook, and the disruption budget keeps one of two. Injected pods end as every pod
// does. The test is not parallel, because no pod finds a node meanwhile.
func TestNodeIsDrained(t *testing.T) {
	n := newNeighbourhood(t)
	n.deploy(t, native)
	n.deployStateful(t, classic.String(), classic)
	var ends []*ending
	for _, o := range []order{native, classic} {
		ends = append(ends, n.expectEnd(t, n.awaitOther(t, o.String(), nil), o))
	}
	b := n.startBirths(t)
	n.uncordonAfter(t)
	n.kubectl(t, n.drain(clustertest.InjectLabel+"=true")...)
	for _, e := range ends {
		e.wantGood(t)
	}

	type result struct {
		out string
		err error
	}
	drained := make(chan result, 1)
	go func() {
		out, err := n.Seed.Kubectl(t, n.drain("app.kubernetes.io/name=proxy-client,app.kubernetes.io/component=webhook")...)
		drained <- result{out, err}
	}()
	n.Seed.AwaitDeployment(t, clustertest.WebhookNamespace, clustertest.WebhookDeployment, func(d *appsv1.Deployment) error {
		if d.Status.ReadyReplicas == 0 {
			return clustertest.Final(errors.New("none is ready"))
		}
		if d.Status.ReadyReplicas != 1 {
			return fmt.Errorf("%d are ready", d.Status.ReadyReplicas)
		}
		return nil
	})
	select {
	case r := <-drained:
		t.Fatalf("the webhook was drained, in spite of its budget: %v: %s", r.err, r.out)
	default:
	}
	n.kubectl(t, "uncordon", n.Seed.Name) // as if another node had room
	r := <-drained
	if r.err != nil || !strings.Contains(r.out, "violate the pod's disruption budget") {
		t.Errorf("the webhook's other pod was drained with %v: %s", r.err, r.out)
	}
	n.AwaitWebhookRollout(t)
	for _, e := range ends {
		pod := n.awaitOther(t, e.order.String(), e.pod)
		wantInjected(t, pod)
		n.askedFromItsStart(t, pod)
	}
	b.wantAllGood(t)
}

// uncordonAfter makes the node accept pods again at the test's end, also after a failure.
func (n *neighbourhood) uncordonAfter(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		_, err := n.Seed.Client.CoreV1().Nodes().Patch(context.Background(), n.Seed.Name, types.MergePatchType, []byte(`{"spec":{"unschedulable":null}}`), metav1.PatchOptions{})
		if err != nil {
			t.Errorf("uncordon the node: %v", err)
		}
	})
}

// drain returns the arguments with which the pods with a label are drained.
func (n *neighbourhood) drain(label string) []string {
	return []string{"drain", n.Seed.Name, "--pod-selector", label, "--ignore-daemonsets", "--delete-emptydir-data"}
}
