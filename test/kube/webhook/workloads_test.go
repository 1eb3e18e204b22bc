// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testWorkloads: a person writes a template. kube-controller-manager makes its pods,
// which have no name and no namespace in the request.
func (in *installed) testWorkloads(t *testing.T) {
	namespace := in.namespace(t, "workloads", nil)
	apps := map[string]string{"app": "deployment"}
	template := func(name string, policy corev1.RestartPolicy) corev1.PodTemplateSpec {
		pod := labelled(nil)
		pod.Labels["app"] = name
		pod.Spec.RestartPolicy = policy
		return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec}
	}
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: namespace} }
	selector := func(name string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	}
	_, err := in.client.AppsV1().Deployments(namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: meta("deployment"),
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: apps}, Template: template("deployment", "")},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = in.client.AppsV1().StatefulSets(namespace).Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: meta("statefulset"),
		Spec:       appsv1.StatefulSetSpec{Selector: selector("statefulset"), Template: template("statefulset", "")},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = in.client.BatchV1().Jobs(namespace).Create(t.Context(), &batchv1.Job{
		ObjectMeta: meta("job"),
		Spec:       batchv1.JobSpec{Template: template("job", corev1.RestartPolicyNever)},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"deployment", "statefulset", "job"} {
		eventually(t, "a pod of the "+name, func(ctx context.Context) error {
			pods, err := in.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
			if err != nil {
				return err
			}
			if len(pods.Items) == 0 {
				return errors.New("there is none")
			}
			in.checkInjected(t, &pods.Items[0])
			return nil
		})
	}
}
