// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/options"
)

// TestFields: each field of a file can be set and read, and its flag is one of a
// program's.
func TestFields(t *testing.T) {
	flags := programFlags()
	for _, f := range fields() {
		c := &file{}
		if got := f.of(c); got != nil {
			t.Errorf("%s: an empty file says %q", f.name, got)
		}
		f.set(c, []string{"a=b"})
		if got := f.of(c); !slices.Equal(got, []string{"a=b"}) {
			t.Errorf("%s: set to a=b it is %q", f.name, got)
		}
		if f.flag != "" && !slices.Contains(flags, f.flag) {
			t.Errorf("%s: no program has a flag %s", f.name, f.flag)
		}
	}
}

// programFlags are those of both programs.
func programFlags() []string {
	flags := pflag.NewFlagSet("both", pflag.ContinueOnError)
	options.NewProxyClient().AddFlags(flags)
	own := pflag.NewFlagSet(initRedirect, pflag.ContinueOnError)
	options.NewInitRedirect().AddFlags(own)
	flags.AddFlagSet(own)
	var all []string
	flags.VisitAll(func(f *pflag.Flag) { all = append(all, "--"+f.Name) })
	return all
}

// TestAnnotationsAreThoseOfFields: a field's annotation is a name that this package
// knows, and no two fields share one.
func TestAnnotationsAreThoseOfFields(t *testing.T) {
	want := []string{
		annotationConfig, annotationPodCIDRs, annotationServiceCIDRs, annotationNodeCIDRs, annotationExcludeCIDRs, annotationExcludePorts,
		annotationProxyServer, annotationMode, annotationCASecret, annotationCAConfigMap, annotationClientSecret, annotationNativeSidecar,
	}
	if d := cmp.Diff(want, lockable()); d != "" {
		t.Errorf("(-names.go +fields):\n%s", d)
	}
}
