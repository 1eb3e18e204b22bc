// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Networking is what Gardener's Cluster resource of a namespace says of its shoot.
type Networking struct {
	// Source is what it is called in explanations, such as "Cluster shoot--dev--a".
	Source string
	// PodCIDRs, ServiceCIDRs and NodeCIDRs are the shoot's; an empty one says
	// nothing.
	PodCIDRs, ServiceCIDRs, NodeCIDRs []string
}

// Value is one setting of an injection, and where it came from.
type Value struct {
	// Name is the field of an InjectionConfig, such as shoot.podCIDRs.
	Name string
	// Value is what it is, with commas between the elements of a list.
	Value string
	// Source is who says so: a file, a ConfigMap, a Cluster, an annotation, or
	// "default".
	Source string
}

// field is one value that several sources may give.
type field struct {
	name       string // in the file
	annotation string // without its prefix; empty where pods have no say
	flag       string // of the programs that validate it; empty where it is none of theirs
	fallback   string
	of         func(*Config) []string // nil where it does not say
	gardener   func(*Networking) []string
	set        func(*settings, []string)
}

// fields are all, in the order of explanations.
func fields() []field {
	text := func(get func(*file) string) func(*Config) []string {
		return func(c *Config) []string {
			if value := get(&c.file); value != "" {
				return []string{value}
			}
			return nil
		}
	}
	list := func(get func(*file) []string) func(*Config) []string {
		return func(c *Config) []string { return get(&c.file) }
	}
	of := func(get func(*sidecar) string) func(*Config) []string {
		return text(func(f *file) string {
			if f.Sidecar == nil {
				return ""
			}
			return get(f.Sidecar)
		})
	}
	first := func(to func(*settings) *string) func(*settings, []string) {
		return func(s *settings, values []string) { *to(s) = strings.Join(values, ",") }
	}
	all := func(to func(*settings) *[]string) func(*settings, []string) {
		return func(s *settings, values []string) { *to(s) = values }
	}
	return []field{
		{
			name: "shoot.podCIDRs", annotation: annotationPodCIDRs, flag: "--shoot-pod-cidr",
			of:       list(func(f *file) []string { return f.Shoot.PodCIDRs }),
			gardener: func(n *Networking) []string { return n.PodCIDRs },
			set:      all(func(s *settings) *[]string { return &s.podCIDRs }),
		},
		{
			name: "shoot.serviceCIDRs", annotation: annotationServiceCIDRs, flag: "--shoot-service-cidr",
			of:       list(func(f *file) []string { return f.Shoot.ServiceCIDRs }),
			gardener: func(n *Networking) []string { return n.ServiceCIDRs },
			set:      all(func(s *settings) *[]string { return &s.serviceCIDRs }),
		},
		{
			name: "shoot.nodeCIDRs", annotation: annotationNodeCIDRs, flag: "--shoot-node-cidr",
			of:       list(func(f *file) []string { return f.Shoot.NodeCIDRs }),
			gardener: func(n *Networking) []string { return n.NodeCIDRs },
			set:      all(func(s *settings) *[]string { return &s.nodeCIDRs }),
		},
		{
			name: "excludeCIDRs", annotation: annotationExcludeCIDRs, flag: "--exclude-cidr",
			of:  list(func(f *file) []string { return f.ExcludeCIDRs }),
			set: all(func(s *settings) *[]string { return &s.excludeCIDRs }),
		},
		{
			name: "excludePorts", annotation: annotationExcludePorts, flag: "--exclude-port",
			of:  list(func(f *file) []string { return f.ExcludePorts }),
			set: all(func(s *settings) *[]string { return &s.excludePorts }),
		},
		{
			name: "proxyServer.addresses", annotation: annotationProxyServer, flag: "--proxy-server",
			of:  list(func(f *file) []string { return f.ProxyServer.Addresses }),
			set: all(func(s *settings) *[]string { return &s.addresses }),
		},
		{
			name: "proxyServer.mode", annotation: annotationMode, flag: "--mode", fallback: "auto",
			of:  text(func(f *file) string { return f.ProxyServer.Mode }),
			set: first(func(s *settings) *string { return &s.mode }),
		},
		{
			name: "proxyServer.serverName", flag: "--server-name",
			of:  text(func(f *file) string { return f.ProxyServer.ServerName }),
			set: first(func(s *settings) *string { return &s.serverName }),
		},
		{
			name: "proxyServer.tls.caSecret", annotation: annotationCASecret,
			of:  text(func(f *file) string { return f.ProxyServer.TLS.CASecret }),
			set: first(func(s *settings) *string { return &s.caSecret }),
		},
		{
			name: "proxyServer.tls.caKey", fallback: "ca.crt",
			of:  text(func(f *file) string { return f.ProxyServer.TLS.CAKey }),
			set: first(func(s *settings) *string { return &s.caKey }),
		},
		{
			name: "proxyServer.tls.clientSecret", annotation: annotationClientSecret,
			of:  text(func(f *file) string { return f.ProxyServer.TLS.ClientSecret }),
			set: first(func(s *settings) *string { return &s.clientSecret }),
		},
		{
			name: "nativeSidecar", annotation: annotationNativeSidecar, fallback: nativeAuto,
			of:  text(func(f *file) string { return f.NativeSidecar }),
			set: first(func(s *settings) *string { return &s.native }),
		},
		{
			name: "sidecar.totalBuffer", flag: "--total-buffer", fallback: "256MiB",
			of:  of(func(s *sidecar) string { return s.TotalBuffer }),
			set: first(func(s *settings) *string { return &s.totalBuffer }),
		},
		{
			name: "sidecar.iptables", flag: "--iptables", fallback: "auto",
			of:  of(func(s *sidecar) string { return s.Iptables }),
			set: first(func(s *settings) *string { return &s.iptables }),
		},
		{
			name: "sidecar.logFormat", flag: "--log-format", fallback: "json",
			of:  of(func(s *sidecar) string { return s.LogFormat }),
			set: first(func(s *settings) *string { return &s.logFormat }),
		},
		{
			name: "sidecar.logLevel", flag: "--log-level", fallback: "info",
			of:  of(func(s *sidecar) string { return s.LogLevel }),
			set: first(func(s *settings) *string { return &s.logLevel }),
		},
		{
			name: "sidecar.imagePullPolicy", fallback: string(corev1.PullIfNotPresent),
			of:  of(func(s *sidecar) string { return s.ImagePullPolicy }),
			set: first(func(s *settings) *string { return &s.imagePullPolicy }),
		},
	}
}

// The values of nativeSidecar.
const (
	nativeAuto = "auto"
	nativeYes  = "true"
	nativeNo   = "false"
)

// settings are what all sources together say.
type settings struct {
	podCIDRs, serviceCIDRs, nodeCIDRs, excludeCIDRs []string
	excludePorts                                    []string
	addresses                                       []string
	mode, serverName                                string
	caSecret, caKey, clientSecret                   string
	native                                          string
	totalBuffer, iptables                           string
	logFormat, logLevel                             string
	imagePullPolicy                                 string

	readinessProbe bool
	resources      resources

	values  []Value
	sources map[string]origin // of the fields, by name
}

// origin is where a value came from, for the sentence that refuses it.
type origin struct {
	source string
	secret bool // it must not be quoted
	given  bool
}

// settle returns what the sources say together, or why an annotation may not be
// there.
func (r *Request) settle() (*settings, *Result) {
	s := &settings{sources: map[string]origin{}}
	if refusal := r.checkAnnotations(); refusal != nil {
		return nil, refusal
	}
	for _, f := range fields() {
		values, from := r.value(f)
		if !from.given {
			continue
		}
		f.set(s, values)
		s.sources[f.name] = from
		s.values = append(s.values, Value{f.name, strings.Join(values, ","), from.source})
	}
	if r.Defaults != nil && r.Defaults.file.Sidecar != nil {
		s.readinessProbe = r.Defaults.file.Sidecar.ReadinessProbe
		s.resources = r.Defaults.file.Sidecar.Resources
	}
	return s, nil
}

// value returns what the last source that says something says.
func (r *Request) value(f field) (values []string, from origin) {
	if f.fallback != "" {
		values, from = []string{f.fallback}, origin{source: "default", given: true}
	}
	for _, c := range []*Config{r.Defaults, r.ConfigMap} {
		if c == nil {
			continue
		}
		if given := f.of(c); given != nil {
			values, from = given, origin{source: c.source, secret: c == r.ConfigMap, given: true}
		}
	}
	if f.gardener != nil && r.Networking != nil {
		if given := f.gardener(r.Networking); len(given) > 0 {
			values, from = given, origin{source: r.Networking.Source, given: true}
		}
	}
	if f.name == "nativeSidecar" && r.NativeSidecar != "" {
		return []string{r.NativeSidecar}, origin{source: "--native-sidecar", given: true}
	}
	if text, ok := r.annotation(f.annotation); ok {
		values, from = split(text), origin{source: annotationSource(f.annotation), given: true}
	}
	return values, from
}

// split makes a list of an annotation: elements are separated by commas.
func split(text string) []string {
	var values []string
	for value := range strings.SplitSeq(text, ",") {
		values = append(values, strings.TrimSpace(value))
	}
	return values
}

func (r *Request) annotation(name string) (string, bool) {
	if name == "" {
		return "", false
	}
	text, ok := r.Pod.Annotations[AnnotationPrefix+name]
	return text, ok
}

func annotationSource(name string) string {
	return fmt.Sprintf("annotation %s%s", AnnotationPrefix, name)
}
