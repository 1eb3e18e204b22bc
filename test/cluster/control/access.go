// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"net"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Admin returns access with all rights and without a client-side rate limit to
// kube-apiserver at a URL that dial reaches.
func (c *Credentials) Admin(url string, dial func(ctx context.Context, network, address string) (net.Conn, error)) *rest.Config {
	return &rest.Config{
		Host: url, BearerToken: c.Token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.CA.File},
		Dial:            dial,
		QPS:             -1,
	}
}

// Ready returns nil once kube-apiserver says that it is ready.
func Ready(ctx context.Context, config *rest.Config) error {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	_, err = lab.Get(ctx, client, config.Host+"/readyz")
	return err
}

// AllowKubeletClient lets kube-apiserver use kubelets for its users' requests: logs, exec
// and so on.
func AllowKubeletClient(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: KubeletClient},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:kubelet-api-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: KubeletClient}},
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("let kube-apiserver come to kubelets: %w", err)
	}
	return nil
}
