// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/test/kube/cluster"
	"github.com/shoot-proxy/proxy-client/webhook/inspect"
)

// The objects of the inspected installation.
const (
	monitored  = "monitoring" // the namespace with labelled pods
	shootsOwn  = "shoot"      // the namespace with the proxy-server
	serverName = "proxy-server"
)

// inspected is an installation in which all is well, as far as a control plane without a
// kubelet can have one: the test does to pods' status what a kubelet does.
type inspected struct {
	*system
	*hook
	chart manifests
	// serverCA signs the proxy-server's certificate, and clientCA those of its clients.
	serverCA, clientCA *certtest.Pair
	client             *certtest.Pair
	// app is a labelled pod.
	app *corev1.Pod
	// written are the reports so far, to be searched for what must not be in them.
	written bytes.Buffer
}

// newInspected installs the chart and a proxy-server, and makes a labelled pod and a
// Deployment with the label.
func newInspected(t *testing.T) *inspected {
	t.Helper()
	services := fmt.Sprintf("127.%d.%d.0/24", 192+os.Getpid()>>8%32, os.Getpid()%256)
	requireLowPorts(t)
	s := newSystem(t, cluster.Options{ServiceCIDR: services})
	s.releaseNamespace(t)
	s.node(t, "new", "v1.36.0")
	chart := s.render(t, filepath.Join("testdata", "inspect.yaml"))
	s.applyAll(t, chart)
	in := &inspected{system: s, chart: chart}
	service, err := s.client.CoreV1().Services(releaseNamespace).Get(t.Context(), chart.of(t, "Service").GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	certs := filepath.Join(s.Dir, "certs")
	in.hook = newHook(t, s, chart, net.JoinHostPort(service.Spec.ClusterIP, "443"), certs)
	s.mount(t, argument(t, in.args, "secret-name"), certs)
	in.start(t)
	in.makeReady(t, true)
	in.makeServer(t)
	in.makeNamespace(t, monitored)
	eventually(t, "the API server to trust the webhook", func(context.Context) error {
		_, err := s.rehearse(t, monitored, labelled(nil))
		return err
	})
	in.app = in.pod(t, "app", labelled(nil))
	return in
}

// makeReady says that the webhook's pods are ready or not, as a kubelet does.
func (in *inspected) makeReady(t testing.TB, ready bool) {
	t.Helper()
	pods := in.system.client.CoreV1().Pods(releaseNamespace)
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	eventually(t, fmt.Sprintf("the webhook's pods to be ready: %v", ready), func(ctx context.Context) error {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=webhook"})
		if err != nil {
			return err
		}
		for i, p := range list.Items {
			in.bind(ctx, &p)
			patch := fmt.Sprintf(`{"status": {"phase": "Running", "podIP": "192.0.2.%d", "podIPs": [{"ip": "192.0.2.%[1]d"}], "conditions": [{"type": "Ready", "status": %q}]}}`, i+1, status)
			if _, err := pods.Patch(ctx, p.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
				return err
			}
		}
		deployment, err := in.system.client.AppsV1().Deployments(releaseNamespace).Get(ctx, in.chart.deployment(t).Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		slices, err := in.system.client.DiscoveryV1().EndpointSlices(releaseNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		want := map[bool]int32{true: 2, false: 0}[ready]
		if got := deployment.Status.ReadyReplicas; got != want || readyEndpoints(slices.Items) != int(want) {
			return fmt.Errorf("%d replicas and %d endpoints are ready, want %d", got, readyEndpoints(slices.Items), want)
		}
		return nil
	})
}

// bind puts a pod on the node, as a scheduler does. A pod that has a node stays there.
func (in *inspected) bind(ctx context.Context, p *corev1.Pod) {
	_ = in.system.client.CoreV1().Pods(p.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: "new"},
	}, metav1.CreateOptions{})
}

func readyEndpoints(slices []discoveryv1.EndpointSlice) int {
	n := 0
	for _, s := range slices {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready != nil && *e.Conditions.Ready {
				n++
			}
		}
	}
	return n
}

// makeServer makes the namespace with the proxy-server, whose Service's address a TLS
// server of this process listens at. It accepts clients of one CA, as upstream's does.
func (in *inspected) makeServer(t *testing.T) {
	t.Helper()
	in.serverCA, in.clientCA = newCA(t, "server CA", inAYear()), newCA(t, "client CA", inAYear())
	in.client = in.newClient(t, x509.Certificate{})
	core := in.system.client.CoreV1()
	if _, err := core.Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shootsOwn}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	in.furnished(t, shootsOwn)
	pod := unlabelled()
	pod.GenerateName, pod.Name, pod.Labels = "", serverName+"-0", map[string]string{"app": serverName}
	if _, err := core.Pods(shootsOwn).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	in.bind(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: shootsOwn, Name: pod.Name}})
	status := `{"status": {"phase": "Running", "podIP": "192.0.2.10", "podIPs": [{"ip": "192.0.2.10"}], "conditions": [{"type": "Ready", "status": "True"}]}}`
	if _, err := core.Pods(shootsOwn).Patch(t.Context(), pod.Name, types.StrategicMergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	service, err := core.Services(shootsOwn).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: serverName},
		Spec:       corev1.ServiceSpec{Selector: pod.Labels, Ports: []corev1.ServicePort{{Name: "clients", Port: 8090}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the proxy-server's endpoint", func(ctx context.Context) error {
		slices, err := in.system.client.DiscoveryV1().EndpointSlices(shootsOwn).List(ctx, metav1.ListOptions{})
		if err == nil && readyEndpoints(slices.Items) != 1 {
			err = errors.New("it is not ready")
		}
		return err
	})
	in.serve(t, net.JoinHostPort(service.Spec.ClusterIP, "8090"))
}

// serve answers TLS handshakes until the end of t.
func (in *inspected) serve(t *testing.T, address string) {
	t.Helper()
	server := in.serverCA.Issue(t, x509.Certificate{
		Subject: pkix.Name{CommonName: "proxy-server"}, DNSNames: []string{"proxy-server.shoot.svc"}, NotAfter: inAYear(),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	listener, err := tls.Listen("tcp", address, &tls.Config{
		Certificates: []tls.Certificate{server.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: in.clientCA.Pool(), NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { listener.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				// The server's empty SETTINGS frame, with which each HTTP/2 connection begins.
				if _, err := conn.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}); err != nil {
					return
				}
				_, _ = conn.Read(make([]byte, 1)) // until the client leaves
			}()
		}
	}()
}

// makeNamespace makes a namespace with what labelled pods need.
func (in *inspected) makeNamespace(t testing.TB, name string) {
	t.Helper()
	core := in.system.client.CoreV1()
	if _, err := core.Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	in.furnished(t, name)
	in.putSecret(t, name, "ca-proxy", map[string][]byte{"ca.crt": in.serverCA.CertPEM()})
	in.putSecret(t, name, "proxy-client-tls", in.pairData(t, in.client))
}

func (in *inspected) pairData(t testing.TB, p *certtest.Pair) map[string][]byte {
	t.Helper()
	return map[string][]byte{corev1.TLSCertKey: p.CertPEM(), corev1.TLSPrivateKeyKey: p.KeyPEM(t)}
}

// newClient returns a client certificate that the proxy-server accepts, as far as the
// template is for that.
func (in *inspected) newClient(t testing.TB, template x509.Certificate) *certtest.Pair {
	t.Helper()
	template.Subject = pkix.Name{CommonName: "proxy-client"}
	if template.NotAfter.IsZero() {
		template.NotAfter = inAYear()
	}
	if template.ExtKeyUsage == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	return in.clientCA.Issue(t, template)
}

// putSecret makes or replaces a Secret.
func (in *inspected) putSecret(t testing.TB, namespace, name string, data map[string][]byte) {
	t.Helper()
	secrets := in.system.client.CoreV1().Secrets(namespace)
	_ = secrets.Delete(t.Context(), name, metav1.DeleteOptions{}) // it may not be there
	if _, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// pod makes a pod with a fixed name in the monitored namespace.
func (in *inspected) pod(t testing.TB, name string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	pod.GenerateName, pod.Name = "", name
	made, err := in.create(t, monitored, pod)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// deletePod deletes a pod at once.
func (in *inspected) deletePod(t testing.TB, namespace, name string) {
	t.Helper()
	none := int64(0)
	if err := in.system.client.CoreV1().Pods(namespace).Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
		t.Fatal(err)
	}
}

// heartbeat says that the node is there, as a kubelet does. Without it, its pods would
// not be ready after 40 seconds.
func (in *inspected) heartbeat(t testing.TB) {
	t.Helper()
	status := fmt.Sprintf(`{"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": %q}]}}`, time.Now().UTC().Format(time.RFC3339))
	if _, err := in.system.client.CoreV1().Nodes().Patch(t.Context(), "new", types.StrategicMergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// inspect looks at the installation, and keeps the report.
func (in *inspected) inspect(t testing.TB, change ...func(*inspect.Config)) *inspect.Report {
	t.Helper()
	in.heartbeat(t)
	cfg := inspect.Config{Cluster: in.Admin(), Version: "0.1.0"}
	for _, c := range change {
		c(&cfg)
	}
	report, err := inspect.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.WriteText(&in.written); err != nil {
		t.Fatal(err)
	}
	if err := json.NewEncoder(&in.written).Encode(report); err != nil {
		t.Fatal(err)
	}
	return report
}

// blamed returns the findings of a report that are not well.
func blamed(r *inspect.Report) []string {
	var all []string
	for _, f := range r.Findings {
		if f.Status != inspect.OK {
			all = append(all, fmt.Sprintf("%s %s", f.Status, f.Check))
		}
	}
	return all
}

// wantNoSecrets searches all reports for the content of the cluster's Secrets.
func (in *inspected) wantNoSecrets(t *testing.T) {
	secrets, err := in.system.client.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, s := range secrets.Items {
		for key, value := range s.Data {
			for _, form := range []string{string(value), base64.StdEncoding.EncodeToString(value)} {
				// A line of PEM is enough. Its frame is in no secret's interest.
				for line := range strings.Lines(form) {
					if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "-----") {
						looked++
						if strings.Contains(in.written.String(), line[:20]) {
							t.Errorf("a report has content of key %s of Secret %s/%s", key, s.Namespace, s.Name)
						}
					}
				}
			}
		}
	}
	if looked == 0 || in.written.Len() == 0 {
		t.Error("there is nothing to search")
	}
}

func inAYear() time.Time { return time.Now().AddDate(1, 0, 0) }

// newCA returns a CA that is valid until a time.
func newCA(t testing.TB, name string, until time.Time) *certtest.Pair {
	t.Helper()
	return certtest.SelfSigned(t, x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: until,
	})
}
