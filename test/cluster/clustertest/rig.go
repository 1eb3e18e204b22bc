// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shoot-proxy/proxy-client/test/cluster"
	"github.com/shoot-proxy/proxy-client/test/cluster/node"
)

// Limit is the longest wait of a test. It is a guard against hanging, not a promise of
// speed.
const Limit = 3 * time.Minute

// Rig has both clusters and their state, for one test.
type Rig struct {
	// Seed and Shoot are the clusters.
	Seed, Shoot *Cluster
	// State has paths and nodes.
	State *cluster.State
}

// Cluster is one of the two.
type Cluster struct {
	// Name is "seed" or "shoot", which is also the name of its node.
	Name string
	// Client and Dynamic have all rights.
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	Config  *rest.Config
	// Kubeconfig is the path of a file with the same rights.
	Kubeconfig string
	// Node is the cluster's only node.
	Node *node.Handle

	binaries string
}

// New gives a test the clusters that [Main] has started, or that run already.
func New(t testing.TB) *Rig {
	t.Helper()
	require(t)
	state, err := cluster.LoadState(os.Getenv(SeedKubeconfig))
	if err != nil {
		t.Fatal(err)
	}
	return &Rig{
		Seed:  newCluster(t, "seed", state.SeedKubeconfig, state.Binaries, &state.Seed),
		Shoot: newCluster(t, "shoot", state.ShootKubeconfig, state.Binaries, &state.Shoot),
		State: state,
	}
}

func newCluster(t testing.TB, name, kubeconfig, binaries string, n *node.Handle) *Cluster {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1 // no limit
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	dynamicClient, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &Cluster{Name: name, Client: client, Dynamic: dynamicClient, Config: config, Kubeconfig: kubeconfig, Node: n, binaries: binaries}
}

// Through returns the same cluster through another one of its kube-apiservers, which is a
// pod on a node.
func (c *Cluster) Through(t testing.TB, n *node.Handle, kubeAPIServer *corev1.Pod) *Cluster {
	t.Helper()
	address, err := netip.ParseAddr(kubeAPIServer.Status.PodIP)
	if err != nil {
		t.Fatal(err)
	}
	forwarder, err := cluster.Forward(n, netip.AddrPortFrom(address, 6443))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := forwarder.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	ca, kubeconfig := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(ca, c.Config.CAData, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := node.WriteKubeconfig(kubeconfig, "https://"+forwarder.Address(), ca, c.Config.BearerToken); err != nil {
		t.Fatal(err)
	}
	return newCluster(t, c.Name, kubeconfig, c.binaries, c.Node)
}

// Context returns a context that ends after [Limit], or with the test.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Limit)
	t.Cleanup(cancel)
	return ctx
}

// ClientSecrets makes the Secrets ca-proxy and proxy-client-tls in a namespace of the
// seed. A pod needs them to reach the shoot's proxy-servers.
func (r *Rig) ClientSecrets(t testing.TB, namespace string) {
	t.Helper()
	secrets, err := r.State.Konnectivity.ClientSecrets()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		if _, err := r.Seed.Client.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// Kubectl runs kubectl with all rights and returns what it writes to both of its outputs.
func (c *Cluster) Kubectl(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return c.KubectlWith(t, "", args...)
}

// KubectlWith is [Cluster.Kubectl] with a standard input.
func (c *Cluster) KubectlWith(t testing.TB, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(Context(t), filepath.Join(c.binaries, "kube", "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "KUBECACHEDIR="+filepath.Join(t.TempDir(), "kubectl"))
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
