// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// births are labelled pods that are made all the time, one after the other. None of them
// is ever scheduled: the webhook's work is done before that.
type births struct {
	stop func()
	done chan struct{}
	// good is how many were made with both containers.
	good int
	// bad has the errors of the others.
	bad []error
}

// birthInterval is how often a pod is made.
const birthInterval = 50 * time.Millisecond

// startBirths makes pods until the function wantAllGood is called, or the test ends.
func (n *neighbourhood) startBirths(t *testing.T) *births {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b := &births{stop: cancel, done: make(chan struct{})}
	template := n.template(native, asksOnce)
	template.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "test.shoot-proxy.io/never"}}
	go func() {
		defer close(b.done)
		ticker := time.NewTicker(birthInterval)
		defer ticker.Stop()
		for ctx.Err() == nil {
			b.note(n.bear(ctx, template))
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-b.done
	})
	return b
}

// bear makes a pod and deletes it.
func (n *neighbourhood) bear(ctx context.Context, template corev1.PodTemplateSpec) error {
	pods := n.Seed.Client.CoreV1().Pods(n.namespace)
	pod := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: template.Spec}
	pod.GenerateName = "born-"
	// A request that has begun is not cancelled. Only the webhook may make it fail.
	ctx = context.WithoutCancel(ctx)
	made, err := pods.Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := pods.Delete(ctx, made.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
		return err
	}
	return injected(made)
}

func (b *births) note(err error) {
	if err == nil {
		b.good++
	} else {
		b.bad = append(b.bad, err)
	}
}

// wantAllGood stops making pods, and fails the test unless every pod was made, with both
// containers.
func (b *births) wantAllGood(t *testing.T) {
	t.Helper()
	b.stop()
	<-b.done
	if b.good == 0 {
		t.Error("no labelled pod was made")
	}
	if len(b.bad) != 0 {
		t.Errorf("of %d labelled pods %d were refused or not injected; the first: %v", b.good+len(b.bad), len(b.bad), b.bad[0])
	}
}
