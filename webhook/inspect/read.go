// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pageSize is how many objects the API server is asked for at once.
const pageSize = 500

// right is what a request needs. An empty namespace means all of them.
type right struct {
	verb, resource, namespace string
	// why is what the request is for.
	why string
}

// String returns the right without its namespace.
func (r right) String() string { return r.verb + " " + r.resource }

// denials are the requests that failed, in the order of the first ones.
type denials struct {
	missing []right
	failed  []Finding
}

// note notes why a request failed. An object or a resource that is not there is no
// failure. It reports whether the request succeeded.
func (d *denials) note(r right, err error) bool {
	switch {
	case err == nil:
		return true
	case apierrors.IsNotFound(err):
	case apierrors.IsForbidden(err):
		if !slices.Contains(d.missing, r) {
			d.missing = append(d.missing, r)
		}
	default:
		where := ""
		if r.namespace != "" {
			where = " in namespace " + r.namespace
		}
		f := Finding{
			Check: "request", Group: GroupRights, Status: Skipped,
			Message: fmt.Sprintf("The request to %s%s failed, so %s was not looked at: %s", r, where, r.why, oneLine(err.Error())),
			Next:    "run the command again",
		}
		if !slices.ContainsFunc(d.failed, func(g Finding) bool { return g.Message == f.Message }) {
			d.failed = append(d.failed, f)
		}
	}
	return false
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// findings returns the denials. Those with the same right and purpose are one finding.
func (d *denials) findings() []Finding {
	var all []Finding
	var done []right
	for _, r := range d.missing {
		key := right{r.verb, r.resource, "", r.why}
		if slices.Contains(done, key) {
			continue
		}
		done = append(done, key)
		var namespaces []string
		for _, other := range d.missing {
			if other.verb == r.verb && other.resource == r.resource && other.why == r.why && other.namespace != "" {
				namespaces = append(namespaces, other.namespace)
			}
		}
		where, canI := "", fmt.Sprintf("kubectl auth can-i %s --all-namespaces", r)
		if len(namespaces) > 0 {
			shown := namespaces[:min(len(namespaces), maxObjects)]
			where = " in " + plural(len(namespaces), "namespace") + " " + strings.Join(shown, ", ")
			if more := len(namespaces) - len(shown); more > 0 {
				where += fmt.Sprintf(" and %d more", more)
			}
			canI = fmt.Sprintf("kubectl auth can-i %s --namespace %s", r, namespaces[0])
		}
		all = append(all, Finding{
			Check: "right", Group: GroupRights, Status: Skipped,
			Message:  fmt.Sprintf("You may not %s%s, so %s was not looked at.", r, where, r.why),
			Next:     fmt.Sprintf("have the right to %s given to you, or name the namespaces that you may read with --namespace", r),
			Commands: []string{canI},
		})
	}
	return append(all, d.failed...)
}

// plural returns a noun for n things.
func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// listed is a list of objects of any kind.
type listed interface {
	GetContinue() string
}

// pages asks for all objects, a page at a time. each gets every page. It reports whether
// all pages came.
func pages[L listed](ctx context.Context, d *denials, r right, options metav1.ListOptions, list func(context.Context, metav1.ListOptions) (L, error), each func(L)) bool {
	options.Limit = pageSize
	for {
		page, err := list(ctx, options)
		if !d.note(r, err) {
			// A resource that the API server does not have has no objects.
			return apierrors.IsNotFound(err)
		}
		each(page)
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return true
		}
	}
}
