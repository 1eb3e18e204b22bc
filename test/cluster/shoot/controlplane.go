// SPDX-License-Identifier: Apache-2.0

package shoot

import (
	"context"
	_ "embed"
	"fmt"
	"path/filepath"
	"strconv"
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

//go:embed kube-apiserver.yaml
var kubeAPIServerTemplate string

//go:embed seed-kustomization.yaml
var seedKustomization string

//go:embed workload.yaml
var workloadTemplate string

//go:embed agents-kustomization.yaml
var agentsKustomization string

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
type images struct{ Etcd, KubeAPIServer, NodeExporter, Busybox string }

func newImages() images {
	return images{
		Etcd: image.Reference(image.Etcd), KubeAPIServer: image.Reference(image.KubeAPIServer),
		NodeExporter: image.Reference(image.NodeExporter), Busybox: image.Reference(image.Busybox),
	}
}

// replacement is an image that a kustomization puts in the place of another.
type replacement struct{ Name, Tag string }

func replacementBy(name string) replacement {
	name, tag, _ := strings.Cut(image.Reference(name), ":")
	return replacement{name, tag}
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

// flags returns what the command lines of the control plane share.
func flags() control.Flags {
	return control.Flags{
		Credentials: "/credentials", Kubeconfig: "/credentials/" + control.KubeconfigFile,
		Etcd: "http://etcd." + Namespace + ".svc:2379", Services: Services,
	}
}

// KubeAPIServer returns the Deployment of a kube-apiserver of the shoot, without a way into
// the shoot. Its namespace in the seed needs the Secret [CredentialsSecret].
func KubeAPIServer() (string, error) {
	return render("kube-apiserver", kubeAPIServerTemplate, map[string]any{
		"Images": newImages(),
		"User":   control.User,
		"Args": append([]string{
			"--bind-address=0.0.0.0", "--secure-port=6443", "--advertise-address=" + LoadBalancer.String(),
			"--endpoint-reconciler-type=none", "--cert-dir=/tmp",
		}, flags().APIServerArgs()...),
	})
}

// startControlPlane returns once the shoot's node reaches a kube-apiserver that is ready.
func (s *Shoot) startControlPlane(ctx context.Context) error {
	if err := s.makeSecrets(ctx); err != nil {
		return err
	}
	user := strconv.Itoa(control.User)
	if _, err := s.seed.Node.Run(ctx, "install", "--directory", "--mode=0770", "--owner="+user, "--group="+user, SocketFolder); err != nil {
		return err
	}
	text, err := s.controlPlane(ctx)
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

// controlPlane returns all objects of [Namespace], except for its Secrets.
func (s *Shoot) controlPlane(ctx context.Context) (string, error) {
	programs, err := render("control plane", controlPlaneTemplate, map[string]any{
		"Images":     newImages(),
		"User":       control.User,
		"AgentsPort": besideKubeAPIServer.Agents,
		"Etcd":       control.EtcdArgs("/data", "0.0.0.0:2379", "127.0.0.1:2380"),
		"Controllers": []controller{
			{"kube-controller-manager", image.Reference(image.KubeControllerManager), append(flags().ControllerManagerArgs(), "--cert-dir=/tmp")},
			{"kube-scheduler", image.Reference(image.KubeScheduler), append(flags().SchedulerArgs(), "--cert-dir=/tmp")},
		},
	})
	if err != nil {
		return "", err
	}
	kubeAPIServer, err := KubeAPIServer()
	if err != nil {
		return "", err
	}
	kustomization, err := render("kustomization of the seed", seedKustomization, map[string]any{
		"Namespace": Namespace, "Service": Service, "SocketFolder": SocketFolder,
		"Server": replacementBy(image.Server), "GRPC": forGRPC, "HTTPConnect": forHTTPConnect,
	})
	if err != nil {
		return "", err
	}
	return manifest.Kustomize(ctx, s.config.Binaries, filepath.Join(s.config.Parent, "shoot-control-plane"), map[string]string{
		"kustomization.yaml": kustomization, "control-plane.yaml": programs, "kube-apiserver.yaml": kubeAPIServer,
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
	credentials, err := folder(s.Credentials.Dir)
	if err != nil {
		return err
	}
	for name, files := range map[string]map[string]string{
		CredentialsSecret:     credentials,
		ServerSecret:          pair(s.Konnectivity.Frontend, "server"),
		"konnectivity-agents": pair(s.Konnectivity.Agents, "server"),
	} {
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
	object, err := secret("konnectivity-agent", corev1.SecretTypeOpaque, pair(s.Konnectivity.Agents, "agent"))
	if err != nil {
		return err
	}
	if _, err := admin.CoreV1().Secrets("kube-system").Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make the agents' secret: %w", err)
	}
	text, err := s.workload(ctx)
	if err != nil {
		return err
	}
	return manifest.Apply(ctx, s.Admin(), "default", text)
}

// workload returns the shoot's pods.
func (s *Shoot) workload(ctx context.Context) (string, error) {
	workload, err := render("workload", workloadTemplate, map[string]any{
		"Images": newImages(), "Address": LoadBalancer.String(), "Node": Address.String(),
	})
	if err != nil {
		return "", err
	}
	files := map[string]string{"workload.yaml": workload}
	kustomization := "resources:\n- workload.yaml\n"
	for _, server := range proxyServers() {
		files[server.Name+"/kustomization.yaml"], err = render("kustomization of the agents", agentsKustomization, map[string]any{
			"Name": server.Name, "Agents": server.Agents, "Host": LoadBalancer.String(), "Agent": replacementBy(image.Agent),
		})
		if err != nil {
			return "", err
		}
		kustomization += "- " + server.Name + "\n"
	}
	files["kustomization.yaml"] = kustomization
	return manifest.Kustomize(ctx, s.config.Binaries, filepath.Join(s.config.Parent, "shoot-workload"), files)
}
