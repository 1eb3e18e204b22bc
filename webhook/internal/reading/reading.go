// SPDX-License-Identifier: Apache-2.0

// Package reading reads lists page by page, and remembers what could not be read: which
// right is missing, and what was not looked at because of it.
package reading

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// Right is what a request needs. An empty namespace means all of them.
type Right struct {
	verb, resource, namespace string
	why                       string
}

// To returns a right. why is what the request is for.
func To(verb, resource, namespace, why string) Right { return Right{verb, resource, namespace, why} }

// String returns the right without its namespace.
func (r Right) String() string { return r.verb + " " + r.resource }

// Denials are the requests that failed, in the order of the first ones.
type Denials struct {
	// PageSize is how many objects the API server is asked for at once.
	PageSize int64
	// Unauthorized is the API server's answer if it does not know the caller. Then no other
	// request can succeed.
	Unauthorized error
	missing      []Right
	failed       []report.Finding
}

// Note notes why a request failed. An object or a resource that is not there is no
// failure. It reports whether the request succeeded.
func (d *Denials) Note(r Right, err error) bool {
	switch {
	case err == nil:
		return true
	case apierrors.IsNotFound(err):
	case apierrors.IsUnauthorized(err):
		d.Unauthorized = err
	case apierrors.IsForbidden(err):
		if !slices.Contains(d.missing, r) {
			d.missing = append(d.missing, r)
		}
	default:
		where := ""
		if r.namespace != "" {
			where = " in namespace " + r.namespace
		}
		f := report.Finding{
			Check: "request", Group: report.GroupRights, Status: report.Skipped,
			Message: report.Sentence(fmt.Sprintf("The request to %s%s failed. Not looked at: %s. The error is: %s", r, where, r.why, report.OneLine(err.Error()))),
			Next:    "run the command again",
		}
		if !slices.ContainsFunc(d.failed, func(g report.Finding) bool { return g.Message == f.Message }) {
			d.failed = append(d.failed, f)
		}
	}
	return false
}

// Findings returns the denials. Those with the same purpose are one finding.
func (d *Denials) Findings() []report.Finding {
	var all []report.Finding
	var done []string
	for _, r := range d.missing {
		if slices.Contains(done, r.why) {
			continue
		}
		done = append(done, r.why)
		var what, namespaces, commands []string
		for _, other := range d.missing {
			if other.why != r.why {
				continue
			}
			if !slices.Contains(what, other.String()) {
				what = append(what, other.String())
				commands = append(commands, other.command())
			}
			if other.namespace != "" {
				namespaces = append(namespaces, other.namespace)
			}
		}
		where := ""
		if namespaces = slices.Compact(slices.Sorted(slices.Values(namespaces))); len(namespaces) > 0 {
			where = " in " + report.Plural(len(namespaces), "namespace") + " " + report.Listed(namespaces)
		}
		f := report.Finding{
			Check: "right", Group: report.GroupRights, Status: report.Skipped,
			Message: fmt.Sprintf("You may not %s%s. Not looked at: %s.", alternatives(what), where, r.why),
			Next:    "have these rights given to you: docs/install.md, Check the installation, has a ClusterRole",
		}
		if len(namespaces) == 0 && namespaced(r.resource) {
			f.Next += ". Or name the namespaces that you may read, with --namespace"
		}
		f.Commands = commands[:min(len(commands), report.MaxCommands)]
		all = append(all, f)
	}
	return append(all, d.failed...)
}

// command returns the command that says whether the caller has a right.
func (r Right) command() string {
	if r.namespace != "" {
		return fmt.Sprintf("kubectl auth can-i %s --namespace %s", r, r.namespace)
	}
	return fmt.Sprintf("kubectl auth can-i %s --all-namespaces", r)
}

// namespaced reports whether objects of a resource are in namespaces.
func namespaced(resource string) bool {
	return !slices.Contains([]string{"namespaces", "nodes", "mutatingwebhookconfigurations", "servicecidrs.networking.k8s.io", "clusters.extensions.gardener.cloud"}, resource)
}

// alternatives joins rights with the same verb, such as "list pods or nodes".
func alternatives(rights []string) string {
	text := rights[0]
	verb, _, _ := strings.Cut(text, " ")
	for _, r := range rights[1:] {
		text += ", " + strings.TrimPrefix(r, verb+" ")
	}
	return text
}

// page is a list of objects of any kind.
type page interface {
	GetContinue() string
}

// Pages asks for all objects, a page at a time. each gets every page. It reports whether
// all pages came.
func Pages[L page](ctx context.Context, d *Denials, r Right, options metav1.ListOptions, list func(context.Context, metav1.ListOptions) (L, error), each func(L)) bool {
	options.Limit = d.PageSize
	for {
		objects, err := list(ctx, options)
		if !d.Note(r, err) {
			// A resource that the API server does not have has no objects.
			return apierrors.IsNotFound(err)
		}
		each(objects)
		if options.Continue = objects.GetContinue(); options.Continue == "" {
			return true
		}
	}
}

// Lacks reports whether a right for a resource is missing.
func (d *Denials) Lacks(resource string) bool {
	return slices.ContainsFunc(d.missing, func(r Right) bool { return r.resource == resource })
}

// Any reports whether anything could not be read.
func (d *Denials) Any() bool { return len(d.missing)+len(d.failed) > 0 }

// Deny notes that a right is missing.
func (d *Denials) Deny(r Right) { d.missing = append(d.missing, r) }
