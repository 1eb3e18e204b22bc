// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/webhook/internal/configfile"
)

// injection is what a pod gets.
type injection struct {
	*settings
	*containerOptions
	memory     int64 // proxy-client's limit, in bytes
	native     bool
	guaranteed bool        // requests equal limits
	pod        *corev1.Pod // the pod that gets it
}

// defaultTerminationGracePeriod is a pod's time to end if it sets none (core/v1,
// DefaultTerminationGracePeriodSeconds). drainMargin is the part of it that
// proxy-client does not use.
const (
	defaultTerminationGracePeriod = 30 * time.Second
	drainMargin                   = 5 * time.Second
)

// memoryOfInitRedirect is its memory limit if the operator sets none.
const memoryOfInitRedirect = "64Mi"

// leastMemoryOfInitRedirect is a limit, in bytes, within which init-redirect works. Measured
// with 500 CIDRs, in each family and with both kinds of iptables: the kernel kills some of
// its processes at 6 MiB, and none at 7 MiB.
const leastMemoryOfInitRedirect = 8 << 20

// initContainer returns init-redirect. It runs as root, because an added capability is
// effective only for root. It sets the user itself, because the pod may set another
// user for all containers.
func (in *injection) initContainer() corev1.Container {
	add := []corev1.Capability{"NET_ADMIN"}
	if in.Redirect.Iptables == "legacy" {
		add = append(add, "NET_RAW")
	}
	security := restricted(0)
	security.RunAsNonRoot = new(false)
	security.Capabilities.Add = add
	return corev1.Container{
		Name: initRedirect, Image: in.Images.InitRedirect, ImagePullPolicy: corev1.PullPolicy(in.Sidecar.ImagePullPolicy),
		Args: in.initRedirect.Args(),
		Resources: in.requirements(in.Redirect.Resources, configfile.Resources{
			Requests: configfile.Amounts{CPU: "10m", Memory: "16Mi"},
			Limits:   configfile.Amounts{Memory: memoryOfInitRedirect},
		}),
		SecurityContext: security,
		VolumeMounts: []corev1.VolumeMount{
			{Name: volumeRun, MountPath: pathRun}, // the lock of iptables-legacy
			noToken(),
		},
	}
}

// sidecarContainer returns proxy-client.
func (in *injection) sidecarContainer() corev1.Container {
	flags := *in.proxyClient
	period := defaultTerminationGracePeriod
	if s := in.pod.Spec.TerminationGracePeriodSeconds; s != nil {
		period = time.Duration(*s) * time.Second
	}
	flags.DrainTimeout = max(min(flags.DrainTimeout, period-drainMargin), time.Second)
	flags.AcceptWhileDraining = !in.native // the app gets SIGTERM at the same time
	live := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/livez", Port: intstr.FromInt32(in.healthPort)}}
	c := corev1.Container{
		Name: proxyClient, Image: in.Images.ProxyClient, ImagePullPolicy: corev1.PullPolicy(in.Sidecar.ImagePullPolicy),
		Args:  flags.Args(),
		Ports: []corev1.ContainerPort{{Name: healthPortName, ContainerPort: in.healthPort, Protocol: corev1.ProtocolTCP}},
		Env:   []corev1.EnvVar{{Name: "GOMEMLIMIT", Value: fmt.Sprintf("%dMiB", in.memory/10*9>>20)}},
		Resources: in.requirements(in.Sidecar.Resources, configfile.Resources{
			Requests: configfile.Amounts{CPU: "10m", Memory: "32Mi"},
			Limits:   configfile.Amounts{Memory: fmt.Sprintf("%dMi", in.memory>>20)},
		}),
		StartupProbe:    &corev1.Probe{ProbeHandler: live, PeriodSeconds: 1, FailureThreshold: 60},
		LivenessProbe:   &corev1.Probe{ProbeHandler: live, PeriodSeconds: 10, FailureThreshold: 3, TimeoutSeconds: 5},
		SecurityContext: restricted(in.initRedirect.ProxyUID),
		VolumeMounts: []corev1.VolumeMount{
			{Name: volumeCA, MountPath: pathCA, ReadOnly: true},
			{Name: volumeClient, MountPath: pathClient, ReadOnly: true},
			noToken(),
		},
	}
	c.VolumeMounts = append(c.VolumeMounts, in.exitMounts()...)
	if in.Sidecar.ReadinessProbe == "true" {
		c.ReadinessProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromInt32(in.healthPort)}},
			PeriodSeconds: 10, FailureThreshold: 3, TimeoutSeconds: 5,
		}
	}
	if in.native {
		c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		return c
	}
	// The kubelet starts the next container when this command returns.
	wait := []string{"/proxy-client", "wait"}
	if in.healthPort != defaults.HealthPort {
		wait = append(wait, options.FlagHealthAddress+"="+in.proxyClient.HealthAddress)
	}
	c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: wait}}}
	return c
}

// restricted returns what Pod Security's level of that name requires, except for the
// user.
func restricted(uid int64) *corev1.SecurityContext {
	return &corev1.SecurityContext{
		RunAsUser: new(uid), RunAsGroup: new(uid), RunAsNonRoot: new(true),
		AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), Privileged: new(false),
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// noToken keeps the pod's ServiceAccount token out of our containers, because they do
// not use the API server.
func noToken() corev1.VolumeMount {
	return corev1.VolumeMount{Name: volumeNoToken, MountPath: pathToken, ReadOnly: true}
}

// volumes returns the volumes of both containers. The TLS files have a mode that
// proxy-client's uid can read. Only proxy-client mounts them, and the volumes contain
// nothing else.
func (in *injection) volumes() []corev1.Volume {
	tls := in.ProxyServer.TLS
	empty := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	return append([]corev1.Volume{
		{Name: volumeRun, VolumeSource: empty},
		{Name: volumeCA, VolumeSource: caVolume(tls.CASecret, tls.CAConfigMap, tls.CAKey)},
		{Name: volumeClient, VolumeSource: secretVolume(tls.ClientSecret, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)},
		{Name: volumeNoToken, VolumeSource: empty},
	}, in.exitVolumes()...)
}

// caVolume returns a CA in a Secret, or in a ConfigMap if that has a name.
func caVolume(secret, configMap, key string) corev1.VolumeSource {
	if configMap == "" {
		return secretVolume(secret, key)
	}
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: configMap}, Items: keys(key), DefaultMode: new(readableFileMode),
	}}
}

// readableFileMode lets every user of the container read a file.
const readableFileMode = int32(0o444)

func secretVolume(name string, items ...string) corev1.VolumeSource {
	return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, Items: keys(items...), DefaultMode: new(readableFileMode)}}
}

// keys returns the keys of a Secret or ConfigMap to mount, each as a file of its name.
func keys(names ...string) []corev1.KeyToPath {
	var items []corev1.KeyToPath
	for _, name := range names {
		items = append(items, corev1.KeyToPath{Key: name, Path: name})
	}
	return items
}

// hash returns a hash of everything that the pod gets, and of the version.
func (in *injection) hash(p parts) string {
	text, err := json.Marshal([]any{in.Version, p.initRedirect, p.proxyClient, p.volumes, in.native, p.labels, p.pullSecrets})
	if err != nil {
		panic(fmt.Sprintf("containers of our own do not become JSON: %v", err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// addTo returns a copy of pod with the parts and the annotations, and the status.
// init-redirect comes first, so that no init container of the pod connects before it.
func (in *injection) addTo(pod *corev1.Pod, p parts, st status, annotations map[string]string) *corev1.Pod {
	pod = pod.DeepCopy()
	spec := &pod.Spec
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		annotate(pod, name, annotations[name])
		st.Annotations = append(st.Annotations, name)
	}
	st.InitContainers = []string{initRedirect}
	first := []corev1.Container{p.initRedirect}
	if in.native {
		first = append(first, p.proxyClient)
		st.InitContainers = append(st.InitContainers, proxyClient)
	} else {
		st.Containers = []string{proxyClient}
		if _, ok := pod.Annotations[defaultContainer]; !ok && len(spec.Containers) > 0 {
			annotate(pod, defaultContainer, spec.Containers[0].Name)
			st.Annotations = append(st.Annotations, defaultContainer)
		}
		spec.Containers = append([]corev1.Container{p.proxyClient}, spec.Containers...)
	}
	spec.InitContainers = append(first, spec.InitContainers...)
	spec.Volumes = append(spec.Volumes, p.volumes...)
	for _, v := range p.volumes {
		st.Volumes = append(st.Volumes, v.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(p.labels)) {
		if _, ok := pod.Labels[name]; !ok { // labels exist: one asks for the injection
			pod.Labels[name] = p.labels[name]
			st.Labels = append(st.Labels, name)
		}
	}
	for _, name := range p.pullSecrets {
		if !hasPullSecret(spec, name) {
			spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
			st.ImagePullSecrets = append(st.ImagePullSecrets, name)
		}
	}
	annotate(pod, AnnotationStatus, st.text())
	return pod
}

func hasPullSecret(spec *corev1.PodSpec, name string) bool {
	return slices.Contains(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
}

func annotate(pod *corev1.Pod, name, value string) {
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[name] = value
}

// orderInWords says how proxy-client runs in the pod.
func (in *injection) orderInWords() string {
	if in.native {
		return "as native sidecar"
	}
	return "as first container"
}
