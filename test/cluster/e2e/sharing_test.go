// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// sharing is a kube-apiserver of the shoot and a pod of the seed that reach the shoot
// through the same proxy-server.
type sharing struct {
	*clustertest.Rig
	// api is the shoot through that kube-apiserver.
	api *clustertest.Cluster
	// pod has a container app and the sidecar.
	pod *corev1.Pod
	// agents are the agents of that proxy-server. It has no others.
	agents agents
	// stalling are the commands of kubectl with which stalledKubectl tries what happens if
	// they do not read.
	stalling []string
	// echo is the address of a server in the shoot that sends back what it gets.
	echo string
	// web is a pod of the shoot with a web server, source one that sends without an end.
	web, source *corev1.Pod
}

// agents is a Deployment of the shoot.
type agents struct{ namespace, name, labels string }

// test tests what both do, and what each does to the other.
func (s *sharing) test(t *testing.T) {
	s.web = s.Shoot.AwaitOnePod(t, "default", "app=web", clustertest.Ready)
	s.echo, s.source = startEcho(t, s.Shoot), s.startSource(t)
	clustertest.Eventually(t, "the sidecar to reach the shoot", func(ctx context.Context) error {
		return exchangeFrom(ctx, s.Seed, s.pod, app, net.JoinHostPort(s.web.Status.PodIP, "8080"))
	})
	t.Run("both are served", s.served)
	t.Run("an app that does not read", s.stalledApp)
	t.Run("a kubectl that does not read", s.stalledKubectl)
	t.Run("without its agent", s.withoutAgent)
}

// connect opens a connection from the app to the echo server.
func (s *sharing) connect(t *testing.T) *kubectlProcess {
	t.Helper()
	d := startKubectl(t, s.Rig, s.Seed, "exec", "--stdin", "--namespace", s.pod.Namespace, s.pod.Name, "--container", app, "--", "nc", s.echo, "7")
	d.wantEcho(t)
	return d
}

// served does with kubectl what needs the way into the shoot, while a connection of the
// app stays open.
func (s *sharing) served(t *testing.T) {
	open := s.connect(t)
	hello := fmt.Sprintf("hello from the shoot, pod %s", s.web.Name)
	for _, use := range []struct {
		name string
		want string
		args []string
	}{
		{"logs", "web serves", []string{"logs", "--namespace=default", s.web.Name}},
		{"exec", hello, []string{"exec", "--namespace=default", s.web.Name, "--", "cat", "/www/index.html"}},
		{"node proxy", "container_memory_working_set_bytes", []string{"get", "--raw", "/api/v1/nodes/shoot/proxy/metrics/cadvisor"}},
		{"pod proxy", hello, []string{"get", "--raw", "/api/v1/namespaces/default/pods/" + s.web.Name + ":8080/proxy/"}},
		{"service proxy", "hello from the shoot, pod web-", []string{"get", "--raw", "/api/v1/namespaces/default/services/web:80/proxy/"}},
	} {
		t.Run(use.name, func(t *testing.T) {
			out, err := s.api.Kubectl(t, use.args...)
			if err != nil || !strings.Contains(out, use.want) {
				t.Errorf("kubectl %s: %v, %.300q, want %q", strings.Join(use.args, " "), err, out, use.want)
			}
			open.wantEcho(t)
		})
	}
	t.Run("port-forward", func(t *testing.T) {
		_, address := s.forward(t, s.web, "8080")
		text, err := lab.Get(clustertest.Context(t), http.DefaultClient, "http://"+address)
		if err != nil || !strings.HasPrefix(text, hello) {
			t.Errorf("through the forwarded port: %v, %q, want %q", err, text, hello)
		}
		http.DefaultClient.CloseIdleConnections()
		open.wantEcho(t)
	})
	extension := startExtension(t, s.Rig)
	t.Run("aggregated API", func(t *testing.T) {
		extension.wantWord(t, s.api)
		open.wantEcho(t)
	})
	t.Run("admission webhook", func(t *testing.T) {
		extension.wantAdmitted(t, s.api)
		open.wantEcho(t)
	})
}

// forwarded matches what kubectl port-forward prints.
var forwarded = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// forward starts `kubectl port-forward`, and returns the address on this machine.
func (s *sharing) forward(t *testing.T, pod *corev1.Pod, port string) (_ *kubectlProcess, address string) {
	t.Helper()
	d := startKubectl(t, s.Rig, s.api, "port-forward", "--address=127.0.0.1", "--namespace="+pod.Namespace, "pod/"+pod.Name, ":"+port)
	return d, forwarded.FindString(d.await(t, "127.0.0.1:"))
}

// withoutAgent is the control experiment: the two do share a server. While it has no
// agent, neither reaches the shoot.
func (s *sharing) withoutAgent(t *testing.T) {
	t.Cleanup(func() { // other tests use these agents
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.Limit)
		defer cancel()
		scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: s.agents.name, Namespace: s.agents.namespace}, Spec: autoscalingv1.ScaleSpec{Replicas: 1}}
		if _, err := s.Shoot.Client.AppsV1().Deployments(s.agents.namespace).UpdateScale(ctx, s.agents.name, scale, metav1.UpdateOptions{}); err != nil {
			t.Error(err)
		}
	})
	s.scaleAgents(t, 0)
	out, err := s.api.Kubectl(t, "logs", "--namespace=default", s.web.Name)
	if err == nil {
		t.Errorf("kubectl logs works without an agent: %q", out)
	}
	t.Logf("kubectl logs: %v, %s", err, out)
	address := net.JoinHostPort(s.web.Status.PodIP, "8080")
	if err := exchangeFrom(clustertest.Context(t), s.Seed, s.pod, app, address); err == nil {
		t.Error("the app reaches the shoot without an agent")
	}
	clustertest.Eventually(t, "the sidecar to say that the server has no agent", func(ctx context.Context) error {
		log, err := s.Seed.TryLogs(ctx, s.pod, &corev1.PodLogOptions{Container: proxyClient})
		if err == nil && !strings.Contains(log, `"reason":"no_agent"`) {
			err = errors.New("it has not")
		}
		return err
	})
	s.scaleAgents(t, 1)
	clustertest.Eventually(t, "both to reach the shoot again", func(ctx context.Context) error {
		if err := exchangeFrom(ctx, s.Seed, s.pod, app, address); err != nil {
			return err
		}
		out, err := s.api.Kubectl(t, "logs", "--namespace=default", s.web.Name)
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
}

// scaleAgents returns once there are no more agents than that.
func (s *sharing) scaleAgents(t *testing.T, replicas int) {
	t.Helper()
	if out, err := s.Shoot.Kubectl(t, "scale", "--namespace", s.agents.namespace, "deployment", s.agents.name, fmt.Sprint("--replicas=", replicas)); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	killed := map[types.UID]bool{}
	clustertest.Eventually(t, "the end of agents", func(ctx context.Context) error {
		pods, err := s.Shoot.Client.CoreV1().Pods(s.agents.namespace).List(ctx, metav1.ListOptions{LabelSelector: s.agents.labels})
		if err != nil || len(pods.Items) <= replicas {
			return err
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			// An agent serves its connections until its grace period is over.
			if pod.DeletionTimestamp != nil && *pod.DeletionGracePeriodSeconds > 5 && !killed[pod.UID] {
				killed[pod.UID] = true
				s.Shoot.KillContainer(t, pod, "konnectivity-agent")
			}
		}
		return fmt.Errorf("there are %d", len(pods.Items))
	})
}
