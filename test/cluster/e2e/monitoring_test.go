// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
)

var (
	//go:embed testdata/shoot-metrics.yaml
	shootMetrics string
	//go:embed testdata/scrape.yaml
	scrapeConfig string
	//go:embed testdata/prometheus.yaml
	prometheusResource string
)

// otherCA is the job of scrape.yaml that trusts another CA than the shoot's.
const otherCA = "kubelet-by-another-ca"

// monitoring is a namespace of the seed with everything that a Prometheus needs to find
// and scrape its targets in the shoot.
type monitoring struct {
	rig *clustertest.Rig
	// namespace is the seed's, shootNamespace the one with the exporter.
	namespace, shootNamespace string
	exporters                 []corev1.Pod
	// targets are those that a Prometheus has to find, by job, each as HOST:PORT.
	targets map[string][]string
}

func newMonitoring(t *testing.T, rig *clustertest.Rig) *monitoring {
	t.Helper()
	rig.InstallPrometheusOperator(t)
	m := &monitoring{rig: rig, namespace: rig.Seed.Namespace(t), shootNamespace: rig.Shoot.Namespace(t)}
	rig.ClientSecrets(t, m.namespace)
	t.Cleanup(m.removeClusterRole(t))
	rig.Shoot.Apply(t, m.shootNamespace, m.fill(shootMetrics, "IMAGE", image.Reference(image.NodeExporter)))
	rig.Shoot.AwaitDeployment(t, m.shootNamespace, "exporter", clustertest.Available)
	m.findTargets(t)
	m.makeSecrets(t)
	return m
}

// fill replaces words of a text, and NAMESPACE.
func (m *monitoring) fill(text string, words ...string) string {
	return strings.NewReplacer(append(words, "NAMESPACE", m.shootNamespace)...).Replace(text)
}

// removeClusterRole returns a function that removes the objects that are in no namespace.
func (m *monitoring) removeClusterRole(t *testing.T) func() {
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.Limit)
		defer cancel()
		rbac := m.rig.Shoot.Client.RbacV1()
		err := errors.Join(
			rbac.ClusterRoleBindings().Delete(ctx, m.shootNamespace, metav1.DeleteOptions{}),
			rbac.ClusterRoles().Delete(ctx, m.shootNamespace, metav1.DeleteOptions{}))
		if err != nil {
			t.Error(err)
		}
	}
}

// findTargets asks the shoot, as an administrator would, which targets Prometheus has to
// find.
func (m *monitoring) findTargets(t *testing.T) {
	t.Helper()
	ctx, core := clustertest.Context(t), m.rig.Shoot.Client.CoreV1()
	exporters, err := core.Pods(m.shootNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app=exporter"})
	if err != nil {
		t.Fatal(err)
	}
	dns, err := core.Pods("kube-system").List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
	if err != nil {
		t.Fatal(err)
	}
	service, err := core.Services(m.shootNamespace).Get(ctx, "exporter", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kubelet := net.JoinHostPort(shoot.Address.String(), "10250")
	m.exporters = exporters.Items
	m.targets = map[string][]string{
		"service":       {net.JoinHostPort(service.Spec.ClusterIP, "80")},
		"kubelet":       {kubelet},
		"cadvisor":      {kubelet},
		otherCA:         {kubelet},
		"node-exporter": {net.JoinHostPort(shoot.Address.String(), "9100")},
	}
	for _, pod := range exporters.Items {
		m.targets["pods"] = append(m.targets["pods"], net.JoinHostPort(pod.Status.PodIP, "9100"))
	}
	for _, pod := range dns.Items {
		m.targets["coredns"] = append(m.targets["coredns"], net.JoinHostPort(pod.Status.PodIP, "9153"))
	}
}

// makeSecrets gives the seed's namespace the access to the shoot's kube-apiserver and the
// configuration.
func (m *monitoring) makeSecrets(t *testing.T) {
	t.Helper()
	var token *corev1.Secret
	clustertest.Eventually(t, "a token for Prometheus", func(ctx context.Context) (err error) {
		token, err = m.rig.Shoot.Client.CoreV1().Secrets(m.shootNamespace).Get(ctx, "prometheus", metav1.GetOptions{})
		if err == nil && len(token.Data["token"]) == 0 {
			err = errors.New("it is empty")
		}
		return err
	})
	ctx, core := clustertest.Context(t), m.rig.Seed.Client.CoreV1()
	seedCA, err := core.ConfigMaps(m.namespace).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]map[string][]byte{
		"shoot-access": {"token": token.Data["token"], "ca.crt": token.Data["ca.crt"], "other-ca.crt": []byte(seedCA.Data["ca.crt"])},
		"shoot-scrape": {"scrape.yaml": []byte(m.fill(scrapeConfig))},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
		if _, err := core.Secrets(m.namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// prometheus asks the operator for a Prometheus and returns its pod once it is ready.
// Labels are "key: value, …".
func (m *monitoring) prometheus(t *testing.T, name, labels string) *corev1.Pod {
	t.Helper()
	m.rig.Seed.Apply(t, m.namespace, m.fill(prometheusResource, "IMAGE", image.Reference(image.Prometheus), "NAME", name, "LABELS", labels))
	return m.rig.Seed.AwaitPod(t, m.namespace, "prometheus-"+name+"-0", clustertest.Ready)
}

// target is one target in Prometheus' answer.
type target struct {
	Labels    map[string]string
	ScrapeURL string
	Health    string
	LastError string
}

// address returns HOST:PORT. The label instance of a node is its name.
func (t target) address() string {
	u, err := url.Parse(t.ScrapeURL)
	if err != nil {
		return t.ScrapeURL
	}
	return u.Host
}

// sample is one value of an instant query.
type sample struct {
	Metric map[string]string
	// Value is a time and a number, as text.
	Value [2]any
}

// askPrometheus reads an answer of Prometheus' own API, through the seed's kube-apiserver.
func askPrometheus(ctx context.Context, seed *clustertest.Cluster, pod *corev1.Pod, path string, parameters map[string]string, data any) error {
	text, err := seed.Client.CoreV1().Pods(pod.Namespace).ProxyGet("http", pod.Name, "9090", path, parameters).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("ask Prometheus %s for %s: %w: %.300s", pod.Name, path, err, text)
	}
	answer := struct{ Data any }{Data: data}
	return json.Unmarshal(text, &answer)
}

func (m *monitoring) askTargets(ctx context.Context, pod *corev1.Pod) (map[string][]target, error) {
	var data struct{ ActiveTargets []target }
	err := askPrometheus(ctx, m.rig.Seed, pod, "/api/v1/targets", map[string]string{"state": "active"}, &data)
	byJob := map[string][]target{}
	for _, t := range data.ActiveTargets {
		byJob[t.Labels["job"]] = append(byJob[t.Labels["job"]], t)
	}
	return byJob, err
}

// query returns the samples of an instant query, and fails if there are none.
func (m *monitoring) query(ctx context.Context, pod *corev1.Pod, query string) ([]sample, error) {
	var data struct{ Result []sample }
	err := askPrometheus(ctx, m.rig.Seed, pod, "/api/v1/query", map[string]string{"query": query}, &data)
	if err == nil && len(data.Result) == 0 {
		err = fmt.Errorf("there is no series of %s", query)
	}
	return data.Result, err
}
