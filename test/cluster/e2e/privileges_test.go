// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// TestBackendsWithTheirCapabilitiesOnly: init-redirect writes its rules with the one
// capability that it gets (two for iptables-legacy). It does so in the node's user
// namespace and in one of the pod's own. With one capability less it ends and says which
// is missing.
func TestBackendsWithTheirCapabilitiesOnly(t *testing.T) {
	t.Parallel()
	rig, namespace := withWebhook(t)
	strays := rig.WatchStrays(t)
	inject := newInjector(t, rig)
	address := targets(clustertest.Context(t), t, rig)["a pod"]
	tests := []struct {
		name, backend string
		hostUsers     bool
		without       corev1.Capability
		complaint     string
	}{
		{name: "nft", backend: "nft", hostUsers: true},
		{name: "legacy", backend: "legacy", hostUsers: true},
		{name: "nft-user-namespace", backend: "nft"},
		{name: "legacy-user-namespace", backend: "legacy"},
		{
			name: "nft-without", backend: "nft", hostUsers: true, without: "NET_ADMIN",
			complaint: "the container needs capability NET_ADMIN",
		},
		{
			name: "legacy-without", backend: "legacy", hostUsers: true, without: "NET_RAW",
			complaint: "iptables-legacy needs capability NET_RAW as well; add it, or use --iptables nft",
		},
	}
	for _, test := range tests {
		pod := inject.pod(t, clientPod(test.name, true), test.backend)
		pod.Spec.HostUsers = new(test.hostUsers)
		if add := &pod.Spec.InitContainers[0].SecurityContext.Capabilities.Add; test.without != "" {
			*add = slices.DeleteFunc(*add, func(c corev1.Capability) bool { return c == test.without })
		}
		create(t, rig.Seed, namespace, pod)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.without != "" {
				rig.Seed.AwaitPod(t, namespace, test.name, failedWith(initRedirect, test.complaint))
				return
			}
			pod := rig.Seed.AwaitPod(t, namespace, test.name, clustertest.Ready)
			log := rig.Seed.Logs(t, pod, initRedirect)
			for _, want := range []string{`"redirect verified"`, fmt.Sprintf(`"backend":%q`, test.backend)} {
				if !strings.Contains(log, want) {
					t.Errorf("the log of init-redirect lacks %s:\n%s", want, log)
				}
			}
			clustertest.Eventually(t, "an answer of "+address, func(ctx context.Context) error {
				return exchange(ctx, rig.Seed, pod, address)
			})
			strays.WantNone(t, pod)
		})
	}
}

// failedWith returns the condition that a container has ended with an error. Its last
// words, as `kubectl describe pod` shows them, must contain the given ones.
func failedWith(container, words string) func(*corev1.Pod) error {
	return func(pod *corev1.Pod) error {
		status := clustertest.Container(pod, container)
		if status == nil {
			return fmt.Errorf("pod %s has no status of %s", pod.Name, container)
		}
		ended := status.State.Terminated
		if ended == nil {
			ended = status.LastTerminationState.Terminated
		}
		if ended == nil {
			return fmt.Errorf("%s has not ended: %+v", container, status.State)
		}
		if ended.ExitCode == 0 || !strings.Contains(ended.Message, words) {
			return clustertest.Final(fmt.Errorf("%s has ended with %d and %q", container, ended.ExitCode, ended.Message))
		}
		return nil
	}
}

// TestProcessesHaveTheShippedPrivileges checks what the kernel reports about the
// processes. This is their users, capabilities and seccomp filter, and that no program
// can get more. The root file system cannot be written.
func TestProcessesHaveTheShippedPrivileges(t *testing.T) {
	t.Parallel()
	rig, namespace := withWebhook(t)
	inject := newInjector(t, rig)
	const netAdmin, netRaw = 1 << unix.CAP_NET_ADMIN, 1 << unix.CAP_NET_RAW

	create(t, rig.Seed, namespace, clientPod("labelled", true))
	for _, backend := range []string{"nft", "legacy"} {
		create(t, rig.Seed, namespace, holdInitRedirect(t, inject.pod(t, clientPod(backend, true), backend)))
	}
	t.Run(proxyClient, func(t *testing.T) {
		pod := rig.Seed.AwaitPod(t, namespace, "labelled", clustertest.Ready)
		checkProcess(t, rig.Seed, pod, proxyClient, lab.ProxyUID, 0)
	})
	for backend, capabilities := range map[string]uint64{"nft": netAdmin, "legacy": netAdmin | netRaw} {
		t.Run(initRedirect+" with "+backend, func(t *testing.T) {
			pod := rig.Seed.AwaitPod(t, namespace, backend, clustertest.Running(initRedirect))
			checkProcess(t, rig.Seed, pod, initRedirect, 0, capabilities)
		})
	}
}

// checkProcess compares a container's process with its security context. The container
// has the name of its program.
func checkProcess(t *testing.T, c *clustertest.Cluster, pod *corev1.Pod, container string, uid int, capabilities uint64) {
	t.Helper()
	process := c.AwaitProcess(t, pod, container, container)
	ids, none := fmt.Sprintf("%[1]d %[1]d %[1]d %[1]d", uid), strings.Repeat("0", 16)
	mask := fmt.Sprintf("%016x", capabilities)
	want := map[string]string{ // proc_pid_status(5)
		"Uid": ids, "Gid": ids,
		"CapEff": mask, "CapPrm": mask, "CapBnd": mask, "CapInh": none, "CapAmb": none,
		"NoNewPrivs": "1",
		"Seccomp":    "2", // a filter
	}
	got := map[string]string{}
	for field := range want {
		got[field] = process.Status[field]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("process %s (-want +got):\n%s", container, diff)
	}
	_, err := c.Node.Run(clustertest.Context(t), "touch", fmt.Sprintf("/proc/%d/root/new", process.PID))
	if err == nil || !strings.Contains(err.Error(), "Read-only file system") {
		t.Errorf("a write to the root file system of %s gives %v", container, err)
	}
}

// holdInitRedirect makes init-redirect wait, which usually ends at once. init-redirect
// opens a pipe for its network namespace, and no process ever opens the other end. Its
// security context is not changed.
func holdInitRedirect(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	const pipe = "/run/pipe"
	ours := &pod.Spec.InitContainers[0]
	hold := clientContainer("make-pipe")
	hold.Command = []string{"mkfifo", pipe}
	for _, mount := range ours.VolumeMounts {
		if mount.MountPath == filepath.Dir(pipe) {
			hold.VolumeMounts = append(hold.VolumeMounts, mount)
		}
	}
	if ours.Name != initRedirect || len(hold.VolumeMounts) != 1 {
		t.Fatalf("the first init container is not %s with a volume for /run: %+v", initRedirect, ours)
	}
	ours.Args = append(ours.Args, "--netns="+pipe)
	pod.Spec.InitContainers = slices.Insert(pod.Spec.InitContainers, 0, hold)
	return pod
}

// injector runs `webhook inject` of the release, with the configuration of the webhook in
// the cluster. That configuration names the images too.
type injector struct {
	program string
	config  map[string]any
}

func newInjector(t *testing.T, rig *clustertest.Rig) *injector {
	t.Helper()
	return &injector{
		program: filepath.Join(releaseFolder(t), "bin", "webhook-linux-"+runtime.GOARCH),
		config:  injectionConfig(t, rig),
	}
}

// injectionConfig returns the configuration of the webhook in the cluster.
func injectionConfig(t *testing.T, rig *clustertest.Rig) map[string]any {
	t.Helper()
	configMap, err := rig.Seed.Client.CoreV1().ConfigMaps(clustertest.WebhookNamespace).Get(clustertest.Context(t), clustertest.WebhookDeployment+"-config", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal([]byte(configMap.Data["config.yaml"]), &config); err != nil {
		t.Fatal(err)
	}
	return config
}

// pod returns a labelled pod with everything that it gets for a backend of iptables. The
// label is removed, so that the webhook in the cluster does not change the pod.
func (in *injector) pod(t *testing.T, pod *corev1.Pod, backend string) *corev1.Pod {
	t.Helper()
	in.config["redirect"] = map[string]any{"iptables": backend}
	folder := t.TempDir()
	config, manifest := filepath.Join(folder, "config.yaml"), filepath.Join(folder, "pod.yaml")
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	for path, object := range map[string]any{config: in.config, manifest: pod} {
		text, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(clustertest.Context(t), in.program, "inject", "--filename", manifest, "--config", config)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	injected := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(text, injected); err != nil {
		t.Fatal(err)
	}
	delete(injected.Labels, clustertest.InjectLabel)
	return injected
}
