// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"iter"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/webhook/internal/poddiff"
)

// sidecar is proxy-client in a subject's pod, as it is or as it would be.
type sidecar struct {
	subject *subject
	pod     *corev1.Pod
	flags   map[string][]string // by name with its dashes
}

// sidecars returns the sidecars of all subjects that have one or would get one.
func (in *inspection) sidecars() iter.Seq[sidecar] {
	return func(yield func(sidecar) bool) {
		for _, s := range in.subjects {
			p := s.spec()
			if p == nil {
				continue
			}
			c, _ := poddiff.Container(p, proxyClient)
			if c != nil && !yield(sidecar{s, p, poddiff.FlagValues(c.Args)}) {
				return
			}
		}
	}
}

// values returns the elements of a flag with a list.
func (s sidecar) values(flag string) []string { return valuesOf(s.flags, flag) }

func valuesOf(flags map[string][]string, name string) []string {
	var all []string
	for _, v := range flags[name] {
		all = append(all, strings.Split(v, ",")...)
	}
	return all
}
