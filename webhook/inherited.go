// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// This file is about the effect of the pod's own settings on our containers.
// docs/pod-fields.md decides about each field.

// appArmorPrefix is the prefix of AppArmor's annotations before Kubernetes 1.30.
// kube-apiserver still takes a container's profile from them.
const appArmorPrefix = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix

// setProfiles gives one of our containers its own profiles, if it might not work with
// the pod's. A container's options replace the pod's as a whole (kubelet,
// securitycontext.DetermineEffectiveSecurityContext).
func setProfiles(c *corev1.Container, pod *corev1.Pod) {
	of := pod.Spec.SecurityContext
	if of == nil {
		return
	}
	if profile := of.AppArmorProfile; profile != nil && profile.Type == corev1.AppArmorProfileTypeLocalhost {
		// If the pod has no profile, a node may have no AppArmor, and would refuse all
		// profiles except Unconfined.
		c.SecurityContext.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	}
	if options := of.SELinuxOptions; options != nil && (options.Type != "" || options.User != "" || options.Role != "") {
		// The level must be the pod's, because the volumes have it.
		c.SecurityContext.SELinuxOptions = &corev1.SELinuxOptions{Level: options.Level}
	}
}

// appArmorOfOurs returns the annotation that gives one of our containers a profile;
// empty if there is none.
func appArmorOfOurs(pod *corev1.Pod) string {
	for _, name := range []string{initRedirect, proxyClient} {
		if _, ok := pod.Annotations[appArmorPrefix+name]; ok {
			return appArmorPrefix + name
		}
	}
	return ""
}

// keepAppArmor copies to base, which has nothing of ours, the annotations about our
// containers that another webhook has set on pod.
func keepAppArmor(base, pod *corev1.Pod) {
	for _, name := range []string{initRedirect, proxyClient} {
		if value, ok := pod.Annotations[appArmorPrefix+name]; ok {
			annotate(base, appArmorPrefix+name, value)
		}
	}
}

// forWindows reports whether the pod can run only on Windows.
func forWindows(spec *corev1.PodSpec) bool {
	switch {
	case spec.OS != nil:
		return spec.OS.Name == corev1.Windows
	case spec.NodeSelector[corev1.LabelOSStable] != "":
		return spec.NodeSelector[corev1.LabelOSStable] == string(corev1.Windows)
	default:
		return spec.SecurityContext != nil && spec.SecurityContext.WindowsOptions != nil
	}
}

// checkNameservers refuses what init-redirect would refuse: a nameserver in the shoot.
// DNS uses UDP, and UDP does not go through the tunnel.
func (in *injection) checkNameservers() *Result {
	config := in.pod.Spec.DNSConfig
	if config == nil {
		return nil
	}
	for _, text := range config.Nameservers {
		server, err := netip.ParseAddr(text)
		if err != nil {
			continue // kube-apiserver refuses it
		}
		for _, cidr := range in.Shoot.CIDRs() {
			p, problem := parsePrefix(cidr)
			if problem == "" && p.Contains(server.Unmap()) && !in.excludes(netip.PrefixFrom(server.Unmap(), server.Unmap().BitLen())) {
				return refuse(ReasonBadConfig, "nameserver %s of the pod's dnsConfig is in %s, which is the shoot's, and UDP does not go through the tunnel: name another, or exclude it (%s)",
					text, p, annotationSource(annotationExcludeCIDRs))
			}
		}
	}
	return nil
}

// inheritedWarnings returns warnings about settings of the pod that affect our
// containers.
func (in *injection) inheritedWarnings() []string {
	spec := &in.pod.Spec
	var all []string
	if spec.ShareProcessNamespace != nil && *spec.ShareProcessNamespace || spec.HostPID {
		all = append(all, "processes are shared: a container that runs as root can read proxy-client's key and evade the redirect")
	}
	if !in.native && len(spec.InitContainers) > 0 {
		all = append(all, "in the classic order the pod's init containers run before proxy-client, and do not reach the shoot")
	}
	if name := spec.RuntimeClassName; name != nil && (strings.Contains(*name, "gvisor") || strings.Contains(*name, "runsc")) {
		all = append(all, fmt.Sprintf("runtimeClassName %q: gVisor does not take every rule of iptables, and init-redirect may fail", *name))
	}
	all = append(all, in.lookupWarnings()...)
	return append(all, in.localPortWarnings()...)
}

// lookupWarnings returns warnings if proxy-client may find no address or a wrong one
// for the proxy-server.
func (in *injection) lookupWarnings() []string {
	spec := &in.pod.Spec
	var all []string
	for _, address := range in.ProxyServer.Addresses {
		host, _, _ := net.SplitHostPort(address) // parsed before, with the flags of proxy-client
		if _, err := netip.ParseAddr(host); err == nil {
			continue
		}
		if (spec.DNSPolicy == corev1.DNSDefault || spec.DNSPolicy == corev1.DNSNone) && looksLikeService(host) {
			all = append(all, fmt.Sprintf("dnsPolicy %s: proxy-client may not find %q there, which looks like a Service", spec.DNSPolicy, host))
		}
		// The kubelet writes both to the hosts file of every container.
		for _, alias := range spec.HostAliases {
			if slices.Contains(alias.Hostnames, host) {
				all = append(all, fmt.Sprintf("hostAliases: proxy-client looks for %q at %s", host, alias.IP))
			}
		}
		if in.hostname() == host {
			all = append(all, fmt.Sprintf("the pod's hostname is %q, as the proxy-server's: proxy-client looks for that in the pod itself", host))
		}
	}
	return all
}

// hostname returns the pod's hostname, as far as it is known before the pod has a name.
func (in *injection) hostname() string {
	switch spec := &in.pod.Spec; {
	case spec.HostnameOverride != nil:
		return *spec.HostnameOverride
	case spec.Hostname != "":
		return spec.Hostname
	default:
		return in.pod.Name
	}
}

// looksLikeService reports whether a name looks like a Service's: service,
// service.namespace, or a name in svc.
func looksLikeService(host string) bool {
	host = strings.TrimSuffix(host, ".")
	return strings.Count(host, ".") < 2 || strings.HasSuffix(host, ".svc") || strings.Contains(host, ".svc.")
}

// localPortWarnings returns a warning if the kernel may give one of proxy-client's
// ports to a connection of the app. proxy-client could then not listen on it after a
// restart.
func (in *injection) localPortWarnings() []string {
	if in.pod.Spec.SecurityContext == nil {
		return nil
	}
	sysctls := map[string]string{}
	for _, s := range in.pod.Spec.SecurityContext.Sysctls {
		sysctls[strings.ReplaceAll(s.Name, "/", ".")] = s.Value
	}
	const name, reserved = "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports"
	for _, port := range in.ports() {
		if inRanges(strings.Join(strings.Fields(sysctls[name]), "-"), port) && !inRanges(sysctls[reserved], port) {
			return []string{fmt.Sprintf("%s %q has proxy-client's port %d: reserve it (%s)", name, sysctls[name], port, reserved)}
		}
	}
	return nil
}

// inRanges reports whether a port is in a list such as 14000-14001,14021.
func inRanges(list string, port int) bool {
	for part := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			last = first
		}
		from, err1 := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err1 == nil && err2 == nil && from <= port && port <= to {
			return true
		}
	}
	return false
}
