// SPDX-License-Identifier: Apache-2.0

package shoot

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"text/template"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes"

	"github.com/shoot-proxy/proxy-client/test/cluster/control"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/cluster/manifest"
)

//go:embed controlplane.yaml
var controlPlaneTemplate string

//go:embed workload.yaml
var workloadTemplate string

// SeedImages returns the images that the control plane's pods need, by the names of
// package image.
func SeedImages() []string {
	return []string{image.Etcd, image.KubeAPIServer, image.KubeControllerManager, image.KubeScheduler, image.Server}
}

// NodeImages returns the images that the shoot's own pods need.
func NodeImages() []string {
	return []string{image.Sandbox, image.CoreDNS, image.Agent, image.NodeExporter, image.Busybox, image.Curl}
}

// images are the images of the templates.
type images struct {
	Etcd, KubeAPIServer, Server  string
	Agent, NodeExporter, Busybox string
}

func newImages() images {
	return images{
		Etcd: image.Reference(image.Etcd), KubeAPIServer: image.Reference(image.KubeAPIServer), Server: image.Reference(image.Server),
		Agent: image.Reference(image.Agent), NodeExporter: image.Reference(image.NodeExporter), Busybox: image.Reference(image.Busybox),
	}
}

// controller is a program of the control plane that only connects to kube-apiserver.
type controller struct {
	Name, Image string
	Args        []string
}

func render(name, text string, data any) (string, error) {
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	err = t.Execute(&out, data)
	return out.String(), err
}

// startControlPlane returns once the shoot's node reaches a kube-apiserver that is ready.
func (s *Shoot) startControlPlane(ctx context.Context) error {
	if err := s.makeSecrets(ctx); err != nil {
		return err
	}
	flags := control.Flags{
		Credentials: "/credentials", Kubeconfig: "/credentials/" + control.KubeconfigFile,
		Etcd: "http://etcd:2379", Services: Services,
	}
	text, err := render("control plane", controlPlaneTemplate, map[string]any{
		"Images":  newImages(),
		"User":    control.User,
		"Servers": proxyServers(),
		"Etcd":    control.EtcdArgs("/data", "0.0.0.0:2379", "127.0.0.1:2380"),
		"APIServer": append([]string{
			"--bind-address=0.0.0.0", "--secure-port=6443", "--advertise-address=" + LoadBalancer.String(),
			"--endpoint-reconciler-type=none", "--cert-dir=/tmp", "--egress-selector-config-file=/egress/config.yaml",
		}, flags.APIServerArgs()...),
		"Controllers": []controller{
			{"kube-controller-manager", image.Reference(image.KubeControllerManager), append(flags.ControllerManagerArgs(), "--cert-dir=/tmp")},
			{"kube-scheduler", image.Reference(image.KubeScheduler), append(flags.SchedulerArgs(), "--cert-dir=/tmp")},
		},
	})
	if err != nil {
		return err
	}
	if err := manifest.Apply(ctx, s.seed.Admin(), Namespace, text); err != nil {
		return err
	}
	if err := s.publish(ctx); err != nil {
		return err
	}
	config := s.Admin()
	return s.seed.Node.WaitFor(ctx, "kubelet", "the shoot's kube-apiserver to be ready", func(ctx context.Context) error {
		return control.Ready(ctx, config)
	})
}

// makeSecrets makes the control plane's namespace with all its Secrets.
func (s *Shoot) makeSecrets(ctx context.Context) error {
	admin, err := client.NewForConfig(s.seed.Admin())
	if err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}
	if _, err := admin.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return err
	}
	for name, dir := range map[string]string{
		"credentials": s.Credentials.Dir, ServerSecret: s.Konnectivity.Frontend, "konnectivity-agents": s.Konnectivity.Agents,
	} {
		files, err := folder(dir, "client.crt", "client.key", "agent.crt", "agent.key")
		if err != nil {
			return err
		}
		object, err := secret(name, corev1.SecretTypeOpaque, files)
		if err != nil {
			return err
		}
		if _, err := admin.CoreV1().Secrets(Namespace).Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("make secret %s of the shoot's control plane: %w", name, err)
		}
	}
	return nil
}

// publish gives the control plane's Services their address, as a cloud's controller does.
func (s *Shoot) publish(ctx context.Context) error {
	admin, err := client.NewForConfig(s.seed.Admin())
	if err != nil {
		return err
	}
	for _, name := range []string{"shoot", "konnectivity-agents"} {
		service, err := admin.CoreV1().Services(Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: LoadBalancer.String()}}
		if _, err := admin.CoreV1().Services(Namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// deploy makes the shoot's pods.
func (s *Shoot) deploy(ctx context.Context) error {
	admin, err := client.NewForConfig(s.Admin())
	if err != nil {
		return err
	}
	files, err := folder(s.Konnectivity.Agents, "server.crt", "server.key")
	if err != nil {
		return err
	}
	object, err := secret("konnectivity-agent", corev1.SecretTypeOpaque, files)
	if err != nil {
		return err
	}
	if _, err := admin.CoreV1().Secrets("kube-system").Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make the agents' secret: %w", err)
	}
	text, err := render("workload", workloadTemplate, map[string]any{
		"Images": newImages(), "Servers": proxyServers(), "Address": LoadBalancer.String(), "Node": Address.String(),
	})
	if err != nil {
		return err
	}
	return manifest.Apply(ctx, s.Admin(), "default", text)
}
