// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/webhook/internal/configfile"
)

// need is a setting that every injection requires, and that has no default.
type need struct {
	reason      Reason
	missing     string // for a sentence: what is missing
	fieldsToSet string // for a sentence: the fields to set
	names       []string
}

// needs returns all needs, in the order of a refusal.
func needs() []need {
	return []need{
		{
			ReasonNoCIDRs, "where the shoot is", "shoot.podCIDRs, serviceCIDRs or nodeCIDRs",
			[]string{"shoot.podCIDRs", "shoot.serviceCIDRs", "shoot.nodeCIDRs"},
		},
		{
			ReasonNoProxyServer, "where the proxy-server is", "proxyServer.addresses",
			[]string{"proxyServer.addresses"},
		},
		{
			ReasonNoTLS, "which Secret or ConfigMap has the proxy-server's CA", "proxyServer.tls.caSecret or caConfigMap",
			[]string{"proxyServer.tls.caSecret", "proxyServer.tls.caConfigMap"},
		},
		{
			ReasonNoTLS, "which Secret has the client certificate", "proxyServer.tls.clientSecret",
			[]string{"proxyServer.tls.clientSecret"},
		},
	}
}

// fields returns the fields of which at least one must be set.
func (n *need) fields() []configfile.Field {
	return slices.DeleteFunc(slices.Clone(configfile.Fields()), func(f configfile.Field) bool { return !slices.Contains(n.names, f.Name) })
}

// isSetIn reports whether a file sets one of the fields.
func (n *need) isSetIn(c *configfile.File) bool {
	return slices.ContainsFunc(n.fields(), func(f configfile.Field) bool { return len(f.Of(c)) > 0 })
}

// complete refuses a pod for which settings are missing, and names all of them in one
// sentence.
func (r *Request) complete(s *settings) *Result {
	var unsaid, set, annotations []string
	var reason Reason
	for _, n := range needs() {
		if n.isSetIn(&s.File) {
			continue
		}
		if len(unsaid) == 0 {
			reason = n.reason
		}
		unsaid, set = append(unsaid, n.missing), append(set, n.fieldsToSet)
		all := n.fields()
		if i := slices.IndexFunc(all, func(f configfile.Field) bool { return !r.Defaults.locked(f.Annotation) }); i >= 0 {
			annotations = append(annotations, AnnotationPrefix+all[i].Annotation)
		}
	}
	if len(unsaid) == 0 {
		return nil
	}
	at := "in the webhook's configuration (--config)"
	if slices.Contains(r.Defaults.ConfigMaps(), DefaultConfigMap) {
		at += fmt.Sprintf(" or ConfigMap %q of the namespace", DefaultConfigMap)
	}
	switch len(annotations) {
	case 0:
	case 1:
		at += ", or annotation " + annotations[0]
	default:
		at += ", or annotations " + strings.Join(annotations, ", ")
	}
	return refuse(reason, "nothing says %s: set %s %s", strings.Join(unsaid, ", nor "), strings.Join(set, ", and "), at)
}

// checkNeeds refuses an operator's file that lacks a setting which no other source may
// set. With such a file every pod would be refused.
func (c *Config) checkNeeds() string {
	if c.file.Inject == injectDisabled {
		return "" // no pod needs it
	}
	if slices.Contains(c.ConfigMaps(), DefaultConfigMap) || len(c.ConfigMaps()) > 0 && !c.locked(annotationConfig) {
		return "" // a ConfigMap may set it
	}
	for _, n := range needs() {
		byAnnotation := slices.ContainsFunc(n.fields(), func(f configfile.Field) bool { return !c.locked(f.Annotation) })
		if n.isSetIn(&c.file) || byAnnotation || n.reason == ReasonNoCIDRs && c.Gardener() {
			continue
		}
		return fmt.Sprintf("has no %s, which no other source may say: set it, or name a ConfigMap in policy.configMaps, or take %s out of policy.lockedFields",
			n.fieldsToSet, n.fields()[0].Annotation)
	}
	return ""
}
