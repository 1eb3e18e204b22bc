// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/webhook/internal/configfile"
)

// Networking is the shoot's networking in Gardener's Cluster resource of a namespace.
type Networking struct {
	// Source is its name in explanations, such as "Cluster shoot--dev--a".
	Source string
	// PodCIDRs, ServiceCIDRs and NodeCIDRs are the shoot's; an empty one is not set.
	PodCIDRs, ServiceCIDRs, NodeCIDRs []string
}

// of returns a field's values in the Cluster resource, or nil if it does not set the
// field.
func (n *Networking) of(field string) []string {
	if n == nil {
		return nil
	}
	switch field {
	case "shoot.podCIDRs":
		return n.PodCIDRs
	case "shoot.serviceCIDRs":
		return n.ServiceCIDRs
	case "shoot.nodeCIDRs":
		return n.NodeCIDRs
	default:
		return nil
	}
}

// Value is one setting of an injection, with its source.
type Value struct {
	// Name is the field of an InjectionConfig, such as shoot.podCIDRs.
	Name string
	// Value is the setting, with commas between the elements of a list.
	Value string
	// Source is the source: a file, a ConfigMap, a Cluster, an annotation, or
	// "default".
	Source string
}

// The values of nativeSidecar.
const (
	nativeAuto = "auto"
	nativeYes  = "true"
	nativeNo   = "false"
)

// settings are the combination of all sources.
type settings struct {
	configfile.File
	fields []configfile.Field

	values  []Value
	sources map[string]origin // of the fields, by name
}

func newSettings() *settings {
	return &settings{File: configfile.File{Images: &configfile.Images{}, Sidecar: &configfile.Sidecar{}, Redirect: &configfile.Redirect{}, Pod: &configfile.PodParts{}}, fields: configfile.Fields(), sources: map[string]origin{}}
}

// origin is the source of a value, for the sentence that refuses it.
type origin struct {
	source string
	secret bool // it must not be quoted
	given  bool
	rank   int // a higher rank overrides a lower one
}

// settings combines the sources, or refuses an annotation.
func (r *Request) settings() (*settings, *Result) {
	s := newSettings()
	if refusal := r.checkAnnotations(); refusal != nil {
		return nil, refusal
	}
	for _, f := range s.fields {
		values, from := r.value(f, s)
		if !from.given {
			continue
		}
		f.Set(&s.File, values)
		s.sources[f.Name] = from
		s.values = append(s.values, Value{f.Name, strings.Join(values, ","), from.source})
	}
	if refusal := s.chooseCA("proxyServer.tls", s.ProxyServer.TLS.CAConfigMap); refusal != nil {
		return s, refusal
	}
	return s, s.chooseCA("exit.tls", s.Exit.TLS.CAConfigMap)
}

// chooseCA keeps one of the two settings of a section's CA. A source that sets one of them
// unsets the other one from an earlier source.
func (s *settings) chooseCA(section, value string) *Result {
	secret, configMap := section+".caSecret", section+".caConfigMap"
	a, b := s.sources[secret], s.sources[configMap]
	switch {
	case !a.given || !b.given:
		return nil
	case a.rank == b.rank:
		return s.refuse(configMap, value, twoCAs)
	case a.rank < b.rank:
		s.unset(secret)
	default:
		s.unset(configMap)
	}
	return nil
}

// twoCAs is the problem if caConfigMap and caSecret are both set.
const twoCAs = "is set beside caSecret, and the CA can be in one of the two: leave one out"

// unset removes a field's value.
func (s *settings) unset(name string) {
	delete(s.sources, name)
	s.values = slices.DeleteFunc(s.values, func(v Value) bool { return v.Name == name })
	for _, f := range s.fields {
		if f.Name == name {
			f.Set(&s.File, nil)
		}
	}
}

// value returns the field's values from the last source that sets it. s has the fields
// before f.
func (r *Request) value(f configfile.Field, s *settings) (values []string, from origin) {
	if flag, text := r.flag(f.Name); text != "" {
		return []string{text}, origin{source: flag, given: true}
	}
	if text, source := r.fallback(f, s); text != "" {
		values, from = []string{text}, origin{source: source, given: true}
	}
	for i, c := range []*Config{r.Defaults, r.ConfigMap} {
		if c == nil {
			continue
		}
		if given := f.Of(&c.file); given != nil {
			values, from = given, origin{source: c.source, secret: c == r.ConfigMap, given: true, rank: 1 + i}
		}
	}
	if given := r.Networking.of(f.Name); len(given) > 0 {
		values, from = given, origin{source: r.Networking.Source, given: true, rank: 3}
	}
	if text, ok := r.annotation(f.Annotation); ok {
		values, from = split(text), origin{source: annotationSource(f.Annotation), given: true, rank: 4}
	}
	return values, from
}

// flag returns the value of a webhook's flag for a field. It overrides every source.
func (r *Request) flag(field string) (flag, text string) {
	switch field {
	case "nativeSidecar":
		return "--native-sidecar", r.NativeSidecar
	case "images.proxyClient":
		return "--proxy-client-image", r.Images.ProxyClient
	case "images.initRedirect":
		return "--init-redirect-image", r.Images.InitRedirect
	default:
		return "", ""
	}
}

// sourceDefault is the source of a default.
const sourceDefault = "default"

// fallback returns the value of a field that no source sets.
func (r *Request) fallback(f configfile.Field, s *settings) (text, source string) {
	switch f.Name {
	case "version":
		return r.Version, "this program"
	case "images.proxyClient":
		return defaultImage(proxyClient, s.Version), sourceDefault
	case "images.initRedirect":
		return defaultImage(initRedirect, s.Version), sourceDefault
	default:
		return f.Fallback, sourceDefault
	}
}

// split splits an annotation into a list at its commas.
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
