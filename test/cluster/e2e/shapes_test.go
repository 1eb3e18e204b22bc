// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
)

// privileged labels a namespace for pods that get init-redirect.
const privileged = "pod-security.kubernetes.io/enforce=privileged"

// withWebhook installs the webhook, with further values if there are any. It makes a
// namespace of the seed whose pods the webhook may inject: privileged, with the Secrets
// of the shoot.
func withWebhook(t *testing.T, values ...string) (_ *clustertest.Rig, namespace string) {
	t.Helper()
	rig := clustertest.New(t)
	rig.InstallWebhook(t, values...)
	namespace = rig.Seed.Namespace(t, privileged)
	rig.ClientSecrets(t, namespace)
	return rig, namespace
}

// shape is a kind of pod that users have.
type shape struct {
	name   string
	change func(*corev1.Pod)
	// check tests more of the labelled pod, if it is not nil.
	check func(*testing.T, *clustertest.Rig, *corev1.Pod)
}

func shapes() []shape {
	return []shape{
		{name: "fsgroup", change: func(pod *corev1.Pod) {
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(1000)), FSGroup: new(int64(3000))}
		}},
		{name: "run-as-non-root", change: func(pod *corev1.Pod) {
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: new(true), RunAsUser: new(int64(1000)), RunAsGroup: new(int64(1000))}
		}},
		{name: "user-namespace", check: inUserNamespace, change: func(pod *corev1.Pod) {
			pod.Spec.HostUsers = new(false)
		}},
		{name: "user-namespace-non-root", check: inUserNamespace, change: func(pod *corev1.Pod) {
			pod.Spec.HostUsers = new(false)
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: new(true), RunAsUser: new(int64(1000)), FSGroup: new(int64(3000))}
		}},
		{name: "user-namespace-classic", check: inUserNamespace, change: func(pod *corev1.Pod) {
			pod.Spec.HostUsers = new(false)
			pod.Annotations = map[string]string{"shoot-proxy.io/native-sidecar": string(classic)}
		}},
		{name: "inherited", change: inherit},
		{name: "inherited-classic", change: func(pod *corev1.Pod) {
			inherit(pod)
			pod.Annotations = map[string]string{"shoot-proxy.io/native-sidecar": string(classic)}
		}},
		{name: "several-containers", change: func(pod *corev1.Pod) {
			for _, uid := range []int64{1000, 65534} {
				c := clientContainer(fmt.Sprintf("client-%d", uid))
				c.SecurityContext = &corev1.SecurityContext{RunAsUser: new(uid), ReadOnlyRootFilesystem: new(true)}
				pod.Spec.Containers = append(pod.Spec.Containers, c)
			}
		}},
	}
}

// inherit gives the pod settings that our containers share with it, or would without
// their own.
func inherit(pod *corev1.Pod) {
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsUser: new(int64(1000)), RunAsGroup: new(int64(1000)), RunAsNonRoot: new(true),
		SupplementalGroups: []int64{4000}, FSGroup: new(int64(3000)),
		SELinuxOptions:  &corev1.SELinuxOptions{Type: "app_t", Level: "s0:c1,c2"},
		AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined},
		SeccompProfile:  &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined},
		Sysctls:         []corev1.Sysctl{{Name: "net.ipv4.ip_local_port_range", Value: "1024 65535"}},
	}
	pod.Spec.HostIPC = true
	pod.Spec.ActiveDeadlineSeconds = new(int64(3600))
	pod.Spec.HostAliases = []corev1.HostAlias{{IP: "192.0.2.7", Hostnames: []string{"elsewhere"}}}
	pod.Spec.DNSConfig = &corev1.PodDNSConfig{Searches: []string{"example.org"}}
	pod.Spec.Subdomain, pod.Spec.SetHostnameAsFQDN = "apps", new(true)
}

// TestPodsOfAnyShapeReachTheShoot: whatever else a pod asks for, each of its containers
// reaches the shoot if the pod has the label. None of its packets to the shoot leaves the
// pod. Without the label the same pod reaches nothing, and its packets do leave.
func TestPodsOfAnyShapeReachTheShoot(t *testing.T) {
	t.Parallel()
	rig, namespace := withWebhook(t)
	// Every container gets variables about this Service, and they look like flags of
	// proxy-client.
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "proxy-client"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	if _, err := rig.Seed.Client.CoreV1().Services(namespace).Create(clustertest.Context(t), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	strays := rig.WatchStrays(t)
	for _, s := range shapes() { // all of them start at the same time
		for _, labelled := range []bool{true, false} {
			pod := clientPod(s.podName(labelled), labelled)
			s.change(pod)
			create(t, rig.Seed, namespace, pod)
		}
	}
	to := targets(clustertest.Context(t), t, rig)
	addresses := []string{to["a pod"], to["a Service"]}
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			labelled := rig.Seed.AwaitPod(t, namespace, s.podName(true), clustertest.Ready)
			for _, container := range labelled.Spec.Containers {
				if container.Name == proxyClient { // in the classic order
					continue
				}
				for _, address := range addresses {
					clustertest.Eventually(t, "an answer of "+address+" to "+container.Name, func(ctx context.Context) error {
						return exchangeFrom(ctx, rig.Seed, labelled, container.Name, address)
					})
				}
			}
			strays.WantNone(t, labelled)
			if s.check != nil {
				s.check(t, rig, labelled)
			}
			plain := rig.Seed.AwaitPod(t, namespace, s.podName(false), clustertest.Ready)
			if err := connect(clustertest.Context(t), rig.Seed, plain, addresses[0]); err == nil || !strings.Contains(err.Error(), "timed out") {
				t.Errorf("without the label the pod should wait in vain for the shoot, and got %v", err)
			}
			clustertest.Eventually(t, "a packet of the plain pod", strays.Seen(t, plain.Status.PodIP))
		})
	}
}

// TestOwnInitContainersReachTheShoot: the pod's own init containers come after ours. They
// reach the shoot at their first attempt, both one-shot ones and sidecars.
func TestOwnInitContainersReachTheShoot(t *testing.T) {
	t.Parallel()
	rig, namespace := withWebhook(t)
	strays := rig.WatchStrays(t)
	to := targets(clustertest.Context(t), t, rig)
	for _, labelled := range []bool{true, false} {
		pod := clientPod(strconv.FormatBool(labelled), labelled)
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		sidecar := clientContainer("sidecar")
		sidecar.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		sidecar.StartupProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: fetch(t, to["a Service"])}},
			PeriodSeconds: 1, TimeoutSeconds: 60, FailureThreshold: 1,
		}
		once := clientContainer("once")
		once.Command = fetch(t, to["a pod"])
		pod.Spec.InitContainers = []corev1.Container{once, sidecar}
		create(t, rig.Seed, namespace, pod)
	}
	labelled := rig.Seed.AwaitPod(t, namespace, "true", clustertest.Ready)
	if log := rig.Seed.Logs(t, labelled, "once"); !strings.Contains(log, "hello from the shoot") {
		t.Errorf("the init container got %q", log)
	}
	for _, name := range []string{"once", "sidecar"} {
		if status := clustertest.Container(labelled, name); status.RestartCount != 0 {
			t.Errorf("init container %s has been restarted %d times: %+v", name, status.RestartCount, status.LastTerminationState)
		}
	}
	strays.WantNone(t, labelled)
	plain := rig.Seed.AwaitPod(t, namespace, "false", func(pod *corev1.Pod) error {
		if status := clustertest.Container(pod, "once"); status == nil || status.State.Running == nil && status.State.Terminated == nil {
			return fmt.Errorf("the init container is %+v", status)
		}
		return nil
	})
	clustertest.Eventually(t, "a packet of the plain pod", strays.Seen(t, plain.Status.PodIP))
	plain = rig.Seed.AwaitPod(t, namespace, "false", func(*corev1.Pod) error { return nil })
	if ended := clustertest.Container(plain, "once").State.Terminated; ended != nil && ended.ExitCode == 0 {
		t.Error("the init container of a pod without the label reaches the shoot")
	}
}

// TestInitContainersOfTheClassicOrderAreRefused: in the classic order the pod's own init
// containers come before proxy-client. They do not reach the shoot, and none of their
// packets to it leaves the pod.
func TestInitContainersOfTheClassicOrderAreRefused(t *testing.T) {
	t.Parallel()
	rig, namespace := withWebhook(t)
	strays := rig.WatchStrays(t)
	to := targets(clustertest.Context(t), t, rig)
	pod := clientPod("classic", true)
	pod.Annotations = map[string]string{"shoot-proxy.io/native-sidecar": string(classic)}
	once := clientContainer("once")
	once.Command = fetch(t, to["a pod"])
	once.Command[2] = "if " + once.Command[2] + "; then echo reached; else echo refused; fi"
	pod.Spec.InitContainers = []corev1.Container{once}
	create(t, rig.Seed, namespace, pod)
	pod = rig.Seed.AwaitPod(t, namespace, pod.Name, clustertest.Ready)
	if log := rig.Seed.Logs(t, pod, "once"); !strings.Contains(log, "refused") {
		t.Errorf("the init container got %q", log)
	}
	clustertest.Eventually(t, "an answer to the app", func(ctx context.Context) error {
		return exchangeFrom(ctx, rig.Seed, pod, "client", to["a pod"])
	})
	strays.WantNone(t, pod)
}

// fetch returns a command that succeeds with an answer of the shoot. It tries once.
func fetch(t *testing.T, address string) []string {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"sh", "-c", `printf 'GET / HTTP/1.0\r\n\r\n' | timeout 60 nc "$0" "$1" | grep 'hello from the shoot'`, host, port}
}

// inUserNamespace checks that root of the pod's containers is not the node's.
func inUserNamespace(t *testing.T, rig *clustertest.Rig, pod *corev1.Pod) {
	t.Helper()
	const firstMapped = 65536 // kubelet leaves the ids below to the node
	process := rig.Seed.AwaitProcess(t, pod, "proxy-client", "proxy-client")
	first, _, _ := strings.Cut(process.Status["Uid"], " ")
	if uid, err := strconv.Atoi(first); err != nil || uid < firstMapped {
		t.Errorf("in the node's eyes proxy-client has uid %q, which is none of a user namespace", first)
	}
}

func (s shape) podName(labelled bool) string {
	if labelled {
		return s.name + "-labelled"
	}
	return s.name + "-plain"
}

// clientPod returns a pod with one container, "client", which sleeps.
func clientPod(name string, labelled bool) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64(0)),
			AutomountServiceAccountToken:  new(false),
			Containers:                    []corev1.Container{clientContainer("client")},
		},
	}
	if labelled {
		pod.Labels[clustertest.InjectLabel] = "true"
	}
	return pod
}

func clientContainer(name string) corev1.Container {
	return corev1.Container{
		Name: name, Image: image.Reference(image.Busybox), ImagePullPolicy: corev1.PullNever,
		Command: []string{"sleep", "infinity"},
	}
}

func create(t *testing.T, c *clustertest.Cluster, namespace string, pod *corev1.Pod) {
	t.Helper()
	if _, err := c.Client.CoreV1().Pods(namespace).Create(clustertest.Context(t), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
