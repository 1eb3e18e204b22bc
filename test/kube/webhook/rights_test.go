// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// testRights tests what the rights of the chart's ServiceAccount do not allow. All other
// parts show that the rights are enough, because the webhook has only that token.
func (in *installed) testRights(t *testing.T) {
	namespace := in.namespace(t, "rights", nil)
	for _, name := range []string{"shoot-proxy", "mine"} {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := in.client.CoreV1().ConfigMaps(namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "ca-proxy"}}
	if _, err := in.client.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	client := in.as(t, in.token)
	if _, err := client.CoreV1().ConfigMaps(namespace).Get(t.Context(), "shoot-proxy", metav1.GetOptions{}); err != nil {
		t.Errorf("the ConfigMap that the operator lists: %v", err)
	}
	wantForbidden(t, forbidden(client, namespace))
}

func wantForbidden(t *testing.T, tries map[string]func(context.Context) error) {
	t.Helper()
	for what, try := range tries {
		if err := try(t.Context()); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v, want that it is forbidden", what, err)
		}
	}
}

// forbidden returns requests that no webhook of ours needs.
func forbidden(client kubernetes.Interface, namespace string) map[string]func(context.Context) error {
	core := client.CoreV1()
	return map[string]func(context.Context) error{
		"read a Secret of the pod's namespace": func(ctx context.Context) error {
			_, err := core.Secrets(namespace).Get(ctx, "ca-proxy", metav1.GetOptions{})
			return err
		},
		"list the Secrets of its own namespace": func(ctx context.Context) error {
			_, err := core.Secrets(releaseNamespace).List(ctx, metav1.ListOptions{})
			return err
		},
		"read a ConfigMap that the operator does not list": func(ctx context.Context) error {
			_, err := core.ConfigMaps(namespace).Get(ctx, "mine", metav1.GetOptions{})
			return err
		},
		"list ConfigMaps": func(ctx context.Context) error {
			_, err := core.ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
			return err
		},
		"change the ConfigMap that the operator lists": func(ctx context.Context) error {
			_, err := core.ConfigMaps(namespace).Update(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "shoot-proxy"}}, metav1.UpdateOptions{})
			return err
		},
		"make a pod": func(ctx context.Context) error {
			_, err := core.Pods(namespace).Create(ctx, unlabelled(), metav1.CreateOptions{})
			return err
		},
		"list pods": func(ctx context.Context) error {
			_, err := core.Pods(namespace).List(ctx, metav1.ListOptions{})
			return err
		},
		"label a namespace": func(ctx context.Context) error {
			_, err := core.Namespaces().Update(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.UpdateOptions{})
			return err
		},
		"change a node": func(ctx context.Context) error {
			return core.Nodes().Delete(ctx, "new", metav1.DeleteOptions{})
		},
		"remove the webhook configuration": func(ctx context.Context) error {
			return client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(ctx, release+"-webhook", metav1.DeleteOptions{})
		},
		"give itself rights": func(ctx context.Context) error {
			_, err := client.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{})
			return err
		},
	}
}
