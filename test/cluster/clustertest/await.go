// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// Eventually is [labtest.Eventually] with [Limit]. To wait for objects, use the functions
// below.
func Eventually(t testing.TB, what string, condition func(context.Context) error) {
	t.Helper()
	labtest.Eventually(t, Limit, what, condition)
}

// AwaitPod watches a pod until the condition returns nil, and returns the pod as it was
// then. The pod may not exist yet.
func (c *Cluster) AwaitPod(t testing.TB, namespace, name string, condition func(*corev1.Pod) error) *corev1.Pod {
	t.Helper()
	selector := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
	return await(t, "pod "+namespace+"/"+name, c.Client.CoreV1().RESTClient(), "pods", namespace, selector, &corev1.Pod{}, condition)
}

// AwaitOnePod watches the pods with the labels "key=value,…" until one of them meets the
// condition.
func (c *Cluster) AwaitOnePod(t testing.TB, namespace, labels string, condition func(*corev1.Pod) error) *corev1.Pod {
	t.Helper()
	selector := metav1.ListOptions{LabelSelector: labels}
	return await(t, "a pod with "+labels+" in "+namespace, c.Client.CoreV1().RESTClient(), "pods", namespace, selector, &corev1.Pod{}, condition)
}

// AwaitDeployment watches a Deployment, for example until it is [Available].
func (c *Cluster) AwaitDeployment(t testing.TB, namespace, name string, condition func(*appsv1.Deployment) error) *appsv1.Deployment {
	t.Helper()
	selector := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
	return await(t, "deployment "+namespace+"/"+name, c.Client.AppsV1().RESTClient(), "deployments", namespace, selector, &appsv1.Deployment{}, condition)
}

// AwaitJob watches a Job, for example until it is [Complete].
func (c *Cluster) AwaitJob(t testing.TB, namespace, name string, condition func(*batchv1.Job) error) *batchv1.Job {
	t.Helper()
	selector := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
	return await(t, "job "+namespace+"/"+name, c.Client.BatchV1().RESTClient(), "jobs", namespace, selector, &batchv1.Job{}, condition)
}

// AwaitEvent watches the events of an object until one is what the caller looks for. If
// the object's name is empty, it watches those of the whole namespace.
func (c *Cluster) AwaitEvent(t testing.TB, namespace, object string, wanted func(*corev1.Event) bool) *corev1.Event {
	t.Helper()
	var selector metav1.ListOptions
	if object != "" {
		selector.FieldSelector = fields.OneTermEqualSelector("involvedObject.name", object).String()
	}
	return await(t, "an event of "+namespace+"/"+object, c.Client.CoreV1().RESTClient(), "events", namespace, selector, &corev1.Event{}, func(e *corev1.Event) error {
		if !wanted(e) {
			return fmt.Errorf("%s: %s", e.Reason, e.Message)
		}
		return nil
	})
}

// AwaitGone watches a pod until no pod of that UID is there.
func (c *Cluster) AwaitGone(t testing.TB, pod *corev1.Pod) {
	t.Helper()
	Eventually(t, "the end of pod "+pod.Name, func(ctx context.Context) error {
		selector := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, pod.Name).String()}
		pods, err := c.Client.CoreV1().Pods(pod.Namespace).List(ctx, selector)
		if err != nil {
			return err
		}
		for i := range pods.Items {
			if pods.Items[i].UID == pod.UID {
				return fmt.Errorf("it is %s", pods.Items[i].Status.Phase)
			}
		}
		return nil
	})
}

// await watches objects until condition holds. It gets a pointer to an empty object as a
// sample of its type.
func await[T runtime.Object](t testing.TB, what string, client rest.Interface, resource, namespace string, selector metav1.ListOptions, sample T, condition func(T) error) T {
	t.Helper()
	ctx := Context(t)
	listWatch := cache.NewFilteredListWatchFromClient(client, resource, namespace, func(o *metav1.ListOptions) {
		o.FieldSelector, o.LabelSelector = selector.FieldSelector, selector.LabelSelector
	})
	last := errors.New("it does not exist")
	var found T
	_, err := watchtools.UntilWithSync(ctx, listWatch, sample, nil, func(event watch.Event) (bool, error) {
		object, ok := event.Object.(T)
		if !ok || event.Type == watch.Deleted {
			return false, nil
		}
		if last = condition(object); last != nil {
			return false, final(last)
		}
		found = object
		return true, nil
	})
	if err != nil {
		t.Fatalf("wait for %s: %v; last: %v", what, err, last)
	}
	return found
}

// finalError is an error that will not change with time.
type finalError struct{ error }

// Final marks a condition's error as one that will not change. The wait ends at once.
func Final(err error) error { return finalError{err} }

func final(err error) error {
	if last := (finalError{}); errors.As(err, &last) {
		return err
	}
	return nil
}
