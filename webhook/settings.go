// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"slices"
	"strings"
)

// Networking is what Gardener's Cluster resource of a namespace says of its shoot.
type Networking struct {
	// Source is what it is called in explanations, such as "Cluster shoot--dev--a".
	Source string
	// PodCIDRs, ServiceCIDRs and NodeCIDRs are the shoot's; an empty one says
	// nothing.
	PodCIDRs, ServiceCIDRs, NodeCIDRs []string
}

// of returns what a Cluster resource says of a field, nil where it does not.
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

// The values of nativeSidecar.
const (
	nativeAuto = "auto"
	nativeYes  = "true"
	nativeNo   = "false"
)

// settings are what all sources together say.
type settings struct {
	file
	fields []field

	values  []Value
	sources map[string]origin // of the fields, by name
}

func newSettings() *settings {
	return &settings{file: file{Images: &images{}, Sidecar: &sidecar{}, Redirect: &redirect{}, Pod: &podParts{}}, fields: fields(), sources: map[string]origin{}}
}

// origin is where a value came from, for the sentence that refuses it.
type origin struct {
	source string
	secret bool // it must not be quoted
	given  bool
	rank   int // the higher wins
}

// settle returns what the sources say together, or why an annotation may not be
// there.
func (r *Request) settle() (*settings, *Result) {
	s := newSettings()
	if refusal := r.checkAnnotations(); refusal != nil {
		return nil, refusal
	}
	for _, f := range s.fields {
		values, from := r.value(f, s)
		if !from.given {
			continue
		}
		f.set(&s.file, values)
		s.sources[f.name] = from
		s.values = append(s.values, Value{f.name, strings.Join(values, ","), from.source})
	}
	return s, s.chooseCA()
}

// chooseCA leaves one of the two places for the CA: a source that names the one takes
// back what an earlier source says of the other.
func (s *settings) chooseCA() *Result {
	const secret, configMap = "proxyServer.tls.caSecret", "proxyServer.tls.caConfigMap"
	a, b := s.sources[secret], s.sources[configMap]
	switch {
	case !a.given || !b.given:
		return nil
	case a.rank == b.rank:
		return s.refuse(configMap, s.ProxyServer.TLS.CAConfigMap, twoCAs)
	case a.rank < b.rank:
		s.forget(secret)
	default:
		s.forget(configMap)
	}
	return nil
}

// twoCAs is what is wrong with caConfigMap beside caSecret.
const twoCAs = "the CA is in caSecret too, and can be in one of the two: leave one out"

// forget takes back what a source has said.
func (s *settings) forget(name string) {
	delete(s.sources, name)
	s.values = slices.DeleteFunc(s.values, func(v Value) bool { return v.Name == name })
	for _, f := range s.fields {
		if f.name == name {
			f.set(&s.file, nil)
		}
	}
}

// value returns what the last source that says something says. s has the fields before f.
func (r *Request) value(f field, s *settings) (values []string, from origin) {
	if flag, text := r.flag(f.name); text != "" {
		return []string{text}, origin{source: flag, given: true}
	}
	if text, source := r.fallback(f, s); text != "" {
		values, from = []string{text}, origin{source: source, given: true}
	}
	for i, c := range []*Config{r.Defaults, r.ConfigMap} {
		if c == nil {
			continue
		}
		if given := f.of(&c.file); given != nil {
			values, from = given, origin{source: c.source, secret: c == r.ConfigMap, given: true, rank: 1 + i}
		}
	}
	if given := r.Networking.of(f.name); len(given) > 0 {
		values, from = given, origin{source: r.Networking.Source, given: true, rank: 3}
	}
	if text, ok := r.annotation(f.annotation); ok {
		values, from = split(text), origin{source: annotationSource(f.annotation), given: true, rank: 4}
	}
	return values, from
}

// flag returns what a flag of the webhook's says of a field, which beats every source.
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

// sourceDefault is the source of what no other says.
const sourceDefault = "default"

// fallback returns what holds where no source says it.
func (r *Request) fallback(f field, s *settings) (text, source string) {
	switch f.name {
	case "version":
		return r.Version, "this program"
	case "images.proxyClient":
		return defaultImage(proxyClient, s.Version), sourceDefault
	case "images.initRedirect":
		return defaultImage(initRedirect, s.Version), sourceDefault
	default:
		return f.fallback, sourceDefault
	}
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
