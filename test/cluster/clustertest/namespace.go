// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster"
	"github.com/shoot-proxy/proxy-client/test/cluster/manifest"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Namespace makes a namespace for the test and returns its name. Labels are "key=value".
// At the test's end its pods are gone. If the test has failed, its log gets the pods,
// events and logs of the namespace.
func (c *Cluster) Namespace(t testing.TB, labels ...string) string {
	t.Helper()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: map[string]string{}}}
	for _, label := range labels {
		key, value, _ := strings.Cut(label, "=")
		object.Labels[key] = value
	}
	made, err := c.Client.CoreV1().Namespaces().Create(t.Context(), object, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.removeNamespace(t, made.Name) })
	ctx := Context(t)
	err = lab.Poll(ctx, "the service account of a new namespace", func(ctx context.Context) error {
		_, err := c.Client.CoreV1().ServiceAccounts(made.Name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return made.Name
}

func (c *Cluster) removeNamespace(t testing.TB, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.dumpIfFailed(ctx, t, name)
	if err := c.Client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Errorf("delete namespace %s: %v", name, err)
	}
	// The test no longer needs its pods, so they get one second to end. The namespace
	// itself may stay for some seconds, while finalizers run.
	grace := int64(1)
	err := lab.Poll(ctx, "the pods of namespace "+name+" to end", func(ctx context.Context) error {
		pods, err := c.Client.CoreV1().Pods(name).List(ctx, metav1.ListOptions{})
		if err != nil || len(pods.Items) == 0 {
			return err
		}
		_ = c.Client.CoreV1().Pods(name).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &grace}, metav1.ListOptions{}) // the next round sees it
		return fmt.Errorf("%d are there, the first is %s", len(pods.Items), pods.Items[0].Name)
	})
	if err != nil {
		t.Error(err)
	}
}

// DumpIfFailed logs a namespace that the test has not made itself, as [Cluster.Namespace]
// does, if the test fails.
func (c *Cluster) DumpIfFailed(t testing.TB, namespace string) {
	t.Helper()
	t.Cleanup(func() { c.dumpIfFailed(context.Background(), t, namespace) })
}

func (c *Cluster) dumpIfFailed(ctx context.Context, t testing.TB, namespace string) {
	if t.Failed() {
		t.Logf("namespace %s of the %s:\n%s", namespace, c.Name, cluster.Describe(ctx, c.Client, namespace))
	}
}

// Apply gives the cluster the objects of YAML documents. Objects without a namespace get
// the given one.
func (c *Cluster) Apply(t testing.TB, namespace, documents string) {
	t.Helper()
	if err := manifest.Apply(Context(t), c.Config, namespace, documents); err != nil {
		t.Fatal(err)
	}
}

// NamespaceGone returns nil if there is no such namespace.
func (c *Cluster) NamespaceGone(ctx context.Context, name string) error {
	switch _, err := c.Client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{}); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	default:
		return errors.New("it is there")
	}
}
