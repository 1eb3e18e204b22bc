// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

func available(t *testing.T) {
	t.Helper()
	labtest.Require(t, Available())
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// TestCluster goes through a cluster's whole life in one test, because it takes seconds
// to start one.
func TestCluster(t *testing.T) {
	available(t)
	ctx := within(t, 5*time.Minute)
	c, err := Start(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.StartControllerManager(ctx); err != nil {
		t.Fatal(err)
	}

	path, err := c.AdminKubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "made"}}
	if _, err := admin.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	err = lab.Poll(ctx, "the controllers to give the namespace its ServiceAccount", func(ctx context.Context) error {
		_, err := admin.CoreV1().ServiceAccounts("made").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err != nil {
		t.Errorf("%v\n%s", err, c.Logs())
	}

	stranger, err := kubernetes.NewForConfig(c.Config("no token of anybody's"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.CoreV1().Namespaces().List(ctx, metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("a wrong token gives %v, want that it is unauthorized", err)
	}

	pids := c.PIDs()
	if len(pids) != 3 {
		t.Errorf("the cluster has %d processes, want etcd, kube-apiserver and kube-controller-manager", len(pids))
	}
	if err := c.Ended(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is left: %v", pid, err)
		}
	}
	if _, err := os.Stat(c.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("folder %s is left: %v", c.Dir, err)
	}
}

func TestStartLeavesNothingWhereItFails(t *testing.T) {
	available(t)
	t.Setenv("TMPDIR", t.TempDir())
	c, err := Start(within(t, time.Minute), Options{ServiceCIDR: "not a range"})
	if err == nil {
		c.Close()
		t.Fatal("kube-apiserver takes any range")
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("%s is left", left[0].Name())
	}
}
