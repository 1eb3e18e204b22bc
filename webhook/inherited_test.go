// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// The decisions about settings of the pod, as docs/pod-fields.md writes them.
const (
	noEffect  = "no effect"
	theSame   = "the same"
	haveOwn   = "ours have their own"
	follow    = "ours follow"
	refusedIf = "refused if"
	warnedIf  = "warned of if"
)

// setting is a setting of a pod, with the expected result.
type setting struct {
	field  string // of PodSpec, or of its securityContext
	change func(*corev1.Pod)
	// decision is the documented decision. words are in the warning or in the refusal.
	decision, words string
	classic         bool // otherwise native
}

func contextOf(pod *corev1.Pod) *corev1.PodSecurityContext {
	if pod.Spec.SecurityContext == nil {
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	return pod.Spec.SecurityContext
}

// settingsOfPods returns settings that affect our containers, and similar ones that do
// not.
func settingsOfPods() []setting {
	sysctls := func(pairs ...string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			for i := 0; i < len(pairs); i += 2 {
				contextOf(p).Sysctls = append(contextOf(p).Sysctls, corev1.Sysctl{Name: pairs[i], Value: pairs[i+1]})
			}
		}
	}
	dns := func(servers ...string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: servers} }
	}
	const (
		portRange, reserved = "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports"
		server              = "vpn-proxy-server"
	)
	return []setting{
		{field: "volumes", change: func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{{Name: volumeRun}} }, decision: refusedIf, words: `volume "shoot-proxy-run"`},
		{field: "volumes", change: func(p *corev1.Pod) {
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: volumeClient, MountPath: "/stolen"}}
		}, decision: refusedIf, words: `container "app" mounts volume "shoot-proxy-client-tls"`},
		{field: "volumes", change: func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "i", VolumeMounts: []corev1.VolumeMount{{Name: volumeCA, MountPath: "/ca"}}}}
		}, decision: refusedIf, words: `container "i" mounts volume "shoot-proxy-ca"`},
		{field: "volumes", change: func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "data"}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
		}, decision: noEffect},
		{field: "initContainers", change: func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "i"}} }, classic: true, decision: warnedIf, words: "classic order"},
		{field: "initContainers", change: func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "i"}} }, decision: noEffect},
		{field: "containers", change: func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 14021}} }, decision: refusedIf, words: "containerPort 14021"},
		{field: "restartPolicy", change: func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }, classic: true, decision: refusedIf, words: "restartPolicy Never"},
		{field: "restartPolicy", change: func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }, decision: noEffect},
		{field: "terminationGracePeriodSeconds", change: func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = new(int64(12)) }, decision: follow, words: "--drain-timeout=7s"},
		{field: "dnsPolicy", change: func(p *corev1.Pod) { p.Spec.DNSPolicy = corev1.DNSDefault }, decision: warnedIf, words: "dnsPolicy Default"},
		{field: "dnsPolicy", change: func(p *corev1.Pod) { p.Spec.DNSPolicy = corev1.DNSNone }, decision: warnedIf, words: "dnsPolicy None"},
		{field: "dnsPolicy", change: func(p *corev1.Pod) { p.Spec.DNSPolicy = corev1.DNSClusterFirst }, decision: noEffect},
		{field: "nodeSelector", change: func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"} }, decision: refusedIf, words: "for Windows"},
		{field: "nodeSelector", change: func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"pool": "windows"} }, decision: noEffect},
		{field: "hostNetwork", change: func(p *corev1.Pod) { p.Spec.HostNetwork = true }, decision: refusedIf, words: "hostNetwork"},
		{field: "hostPID", change: func(p *corev1.Pod) { p.Spec.HostPID = true }, decision: warnedIf, words: "processes are shared"},
		{field: "shareProcessNamespace", change: func(p *corev1.Pod) { p.Spec.ShareProcessNamespace = new(true) }, decision: warnedIf, words: "processes are shared"},
		{field: "shareProcessNamespace", change: func(p *corev1.Pod) { p.Spec.ShareProcessNamespace = new(false) }, decision: noEffect},
		{field: "hostname", change: func(p *corev1.Pod) { p.Spec.Hostname = server }, decision: warnedIf, words: "hostname"},
		{field: "hostname", change: func(p *corev1.Pod) { p.Name = server }, decision: warnedIf, words: "hostname"},
		{field: "hostnameOverride", change: func(p *corev1.Pod) { p.Spec.HostnameOverride = new(server) }, decision: warnedIf, words: "hostname"},
		{field: "hostnameOverride", change: func(p *corev1.Pod) { p.Name, p.Spec.HostnameOverride = server, new("other") }, decision: noEffect},
		{field: "hostAliases", change: func(p *corev1.Pod) {
			p.Spec.HostAliases = []corev1.HostAlias{{IP: "192.0.2.7", Hostnames: []string{"a", server}}}
		}, decision: warnedIf, words: "192.0.2.7"},
		{field: "hostAliases", change: func(p *corev1.Pod) {
			p.Spec.HostAliases = []corev1.HostAlias{{IP: "192.0.2.7", Hostnames: []string{"a"}}}
		}, decision: noEffect},
		{field: "dnsConfig", change: dns("192.0.2.1", "100.104.0.10"), decision: refusedIf, words: "nameserver 100.104.0.10"},
		{field: "dnsConfig", change: dns("::ffff:100.104.0.10"), decision: refusedIf, words: "nameserver ::ffff:100.104.0.10"},
		{field: "dnsConfig", change: dns("192.0.2.1", "2001:db8::1", "x"), decision: noEffect},
		{field: "resources", change: whole("256Mi", ""), decision: refusedIf, words: "spec.resources.limits.memory 256Mi"},
		{field: "resources", change: whole("1Gi", "16Mi"), decision: refusedIf, words: "spec.resources.requests.memory 16Mi"},
		{field: "resources", change: whole("1Gi", "512Mi"), decision: noEffect},
		{field: "runtimeClassName", change: func(p *corev1.Pod) { p.Spec.RuntimeClassName = new("gvisor") }, decision: warnedIf, words: "gVisor"},
		{field: "runtimeClassName", change: func(p *corev1.Pod) { p.Spec.RuntimeClassName = new("runsc-kvm") }, decision: warnedIf, words: "gVisor"},
		{field: "runtimeClassName", change: func(p *corev1.Pod) { p.Spec.RuntimeClassName = new("nvidia") }, decision: noEffect},
		{field: "os", change: func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }, decision: refusedIf, words: "for Windows"},
		{field: "os", change: func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Linux} }, decision: noEffect},

		{field: "seLinuxOptions", change: func(p *corev1.Pod) {
			contextOf(p).SELinuxOptions = &corev1.SELinuxOptions{Type: "app_t", Level: "s0:c1,c2"}
		}, decision: haveOwn},
		{field: "seLinuxOptions", change: func(p *corev1.Pod) { contextOf(p).SELinuxOptions = &corev1.SELinuxOptions{Role: "app_r"} }, decision: haveOwn},
		{field: "seLinuxOptions", change: func(p *corev1.Pod) { contextOf(p).SELinuxOptions = &corev1.SELinuxOptions{Level: "s0:c1,c2"} }, decision: noEffect},
		{field: "windowsOptions", change: func(p *corev1.Pod) { contextOf(p).WindowsOptions = &corev1.WindowsSecurityContextOptions{} }, decision: refusedIf, words: "for Windows"},
		{field: "windowsOptions", change: func(p *corev1.Pod) {
			contextOf(p).WindowsOptions = &corev1.WindowsSecurityContextOptions{}
			p.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "linux"}
		}, decision: noEffect},
		{field: "runAsUser", change: func(p *corev1.Pod) { contextOf(p).RunAsUser = new(int64(1000)) }, decision: haveOwn},
		{field: "runAsGroup", change: func(p *corev1.Pod) { contextOf(p).RunAsGroup = new(int64(1000)) }, decision: haveOwn},
		{field: "runAsNonRoot", change: func(p *corev1.Pod) { contextOf(p).RunAsNonRoot = new(true) }, decision: haveOwn},
		{field: "seccompProfile", change: func(p *corev1.Pod) {
			contextOf(p).SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: new("app.json")}
		}, decision: haveOwn},
		{field: "appArmorProfile", change: func(p *corev1.Pod) {
			contextOf(p).AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: new("app")}
		}, decision: haveOwn},
		{field: "appArmorProfile", change: func(p *corev1.Pod) {
			contextOf(p).AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
		}, decision: noEffect},
		{field: "sysctls", change: sysctls(portRange, "1024 65535"), decision: warnedIf, words: "port 14000"},
		{field: "sysctls", change: sysctls(portRange, "14001\t20000", reserved, "14001"), decision: warnedIf, words: "port 14021"},
		{field: "sysctls", change: sysctls("net/ipv4/ip_local_port_range", "1024 65535"), decision: warnedIf, words: "port 14000"},
		{field: "sysctls", change: sysctls(portRange, "1024 65535", reserved, "80,14000-14001,14021"), decision: noEffect},
		{field: "sysctls", change: sysctls(portRange, "32768 60999", "net.ipv4.tcp_syncookies", "1"), decision: noEffect},
		{field: "sysctls", change: sysctls(portRange, "x y"), decision: noEffect},
	}
}

// checkSetting checks the result for one setting.
func checkSetting(t *testing.T, s setting) {
	t.Helper()
	r, _ := goldenRequest(t, "plain")
	if s.classic {
		r.NativeSidecar = nativeNo
	}
	plain := mutated(t, r, r.Pod)
	r.Pod = r.Pod.DeepCopy()
	s.change(r.Pod)
	got := Mutate(r)
	switch s.decision {
	case refusedIf:
		if got.Decision != Refuse || !strings.Contains(got.Message, s.words) {
			t.Errorf("%s (%s): %s; want a refusal with %q", got.Decision, got.Reason, got.Message, s.words)
		}
		return
	case warnedIf:
		if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], s.words) {
			t.Errorf("the warnings are %q, want one with %q", got.Warnings, s.words)
		}
	default:
		if len(got.Warnings) != 0 {
			t.Errorf("the warnings are %q", got.Warnings)
		}
	}
	if got.Decision != Inject {
		t.Fatalf("%s (%s): %s", got.Decision, got.Reason, got.Message)
	}
	switch s.decision {
	case haveOwn:
		checkOwn(t, s.field, got.Pod)
	case follow:
		if args := ours(got.Pod)[1].Args; !slices.Contains(args, s.words) {
			t.Errorf("proxy-client's arguments are %q, want %s", args, s.words)
		}
	default:
		checkOurs(t, "with it", plain.Pod, got.Pod)
	}
}

// checkOwn checks that both containers have their own value of a field, different from
// the pod's.
func checkOwn(t *testing.T, field string, pod *corev1.Pod) {
	t.Helper()
	byName := func(of any) any {
		v := reflect.ValueOf(of).Elem()
		for i := range v.NumField() {
			if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); name == field {
				return v.Field(i).Interface()
			}
		}
		t.Fatalf("%T has no %s", of, field)
		return nil
	}
	for _, c := range ours(pod) {
		own := byName(c.SecurityContext)
		if reflect.ValueOf(own).IsNil() {
			t.Errorf("%s has none of its own", c.Name)
		}
		// For runAsNonRoot proxy-client and the pod have the same value.
		if field != "runAsNonRoot" && cmp.Equal(own, byName(pod.Spec.SecurityContext)) {
			t.Errorf("%s has the pod's: %v", c.Name, own)
		}
	}
}

// TestPodFieldsAreDecided fails for a field of Kubernetes' types about which
// docs/pod-fields.md does not decide. It checks every decision. For a decision without
// effect it uses a pod with some value in that field.
func TestPodFieldsAreDecided(t *testing.T) {
	tried := map[string][]string{} // the decisions, by field
	for _, s := range settingsOfPods() {
		tried[s.field] = append(tried[s.field], s.decision)
		t.Run(s.field, func(t *testing.T) { checkSetting(t, s) })
	}
	const ofPod, ofContext = "field of the pod", "field of the pod's `securityContext`"
	inPod, inContext := decided(t, ofPod), decided(t, ofContext)
	fields := map[string]func(*corev1.Pod) reflect.Value{}
	for name, field := range checkDecided(t, ofPod, reflect.TypeFor[corev1.PodSpec](), inPod) {
		fields[name] = func(p *corev1.Pod) reflect.Value { return reflect.ValueOf(&p.Spec).Elem().FieldByIndex(field.Index) }
	}
	for name, field := range checkDecided(t, ofContext, reflect.TypeFor[corev1.PodSecurityContext](), inContext) {
		fields[name] = func(p *corev1.Pod) reflect.Value {
			return reflect.ValueOf(contextOf(p)).Elem().FieldByIndex(field.Index)
		}
	}
	maps.Copy(inPod, inContext)
	delete(inPod, "securityContext")
	for name, decision := range inPod {
		switch decision {
		case noEffect, theSame:
			for _, classic := range []bool{false, true} {
				t.Run(name, func(t *testing.T) {
					checkSetting(t, setting{decision: noEffect, classic: classic, change: func(p *corev1.Pod) { fill(fields[name](p)) }})
				})
			}
		case haveOwn, follow, refusedIf, warnedIf:
			if !slices.Contains(tried[name], decision) {
				t.Errorf("docs/pod-fields.md says %q of %s, which no test tries", decision, name)
			}
		default:
			t.Errorf("docs/pod-fields.md says %q of %s", decision, name)
		}
	}
}

// Our containers have the pod's SELinux level, and nothing else of its options.
func TestSELinuxLevelIsThePods(t *testing.T) {
	r, _ := goldenRequest(t, "plain")
	contextOf(r.Pod).SELinuxOptions = &corev1.SELinuxOptions{User: "u", Role: "r", Type: "t", Level: "s0:c1,c2"}
	for _, c := range ours(mutated(t, r, r.Pod).Pod) {
		if d := cmp.Diff(&corev1.SELinuxOptions{Level: "s0:c1,c2"}, c.SecurityContext.SELinuxOptions); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.Name, d)
		}
	}
}

// AppArmor's old annotations about our containers are refused, unless another webhook
// has set them.
func TestAppArmorAnnotations(t *testing.T) {
	for _, container := range []string{initRedirect, proxyClient} {
		name := appArmorPrefix + container
		r, _ := goldenRequest(t, "plain")
		r.Admission = true
		authored := r.Pod.DeepCopy()
		annotate(authored, name, "localhost/evil")
		authored = received(t, authored)
		r.Pod = authored
		if got := Mutate(r); got.Decision != Refuse || got.Reason != ReasonForeignName || !strings.Contains(got.Message, name) {
			t.Errorf("%s (%s): %s", got.Decision, got.Reason, got.Message)
		}
		delete(authored.Annotations, name)
		authored = received(t, authored)
		once := mutated(t, r, authored).Pod
		annotate(once, name, "runtime/default")

		r.Pod = once
		if got := Mutate(r); got.Decision != Skip {
			t.Errorf("another webhook's: %s (%s): %s", got.Decision, got.Reason, got.Message)
		}
		once.Spec.InitContainers[0].Args = nil
		if got := mutated(t, r, once).Pod.Annotations[name]; got != "runtime/default" {
			t.Errorf("another webhook's is %q after a repair", got)
		}

		came := mutated(t, r, received(t, once)).Pod
		if _, ok := came.Annotations[name]; ok {
			t.Errorf("of a pod that came injected it is left: %v", came.Annotations)
		}
		if d := cmp.Diff(map[string]string{}, mustRemove(t, once).Annotations, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("removed, it is left:\n%s", d)
		}
	}
}

// whole sets a pod's limit and request of memory for all its containers together.
func whole(limit, request string) func(*corev1.Pod) {
	list := func(text string) corev1.ResourceList {
		if text == "" {
			return nil
		}
		return corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(text)}
	}
	return func(p *corev1.Pod) {
		p.Spec.Resources = &corev1.ResourceRequirements{Limits: list(limit), Requests: list(request)}
	}
}
