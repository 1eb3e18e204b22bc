// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/options"
)

// TestFields: each field of a file can be set and read, and its flag belongs to a
// program.
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

// notSettable are flags that no field of an InjectionConfig sets, with the reason.
var notSettable = map[string]string{
	"--ca-cert":                     "the file is where the volume of proxyServer.tls.caSecret is mounted",
	"--client-cert":                 "the file is where the volume of proxyServer.tls.clientSecret is mounted",
	"--client-key":                  "the file is where the volume of proxyServer.tls.clientSecret is mounted",
	"--egress-selector-config-file": "proxyServer says all of it",
	"--listen-address":              "is made of redirect.proxyPort",
	"--health-address":              "is made of sidecar.healthPort",
	"--admin-address":               "only the pod itself reaches it, at a port that no other container may have",
	"--accept-while-draining":       "follows from the order of the containers",
	"--netns":                       "the rules belong into the pod's own network namespace",
}

// TestEveryFlagIsSettable: each flag of a program has a field, or a reason in
// notSettable.
func TestEveryFlagIsSettable(t *testing.T) {
	settable := map[string]string{}
	for _, f := range fields() {
		settable[f.flag] = f.name
	}
	for _, flag := range programFlags() {
		field, ok := settable[flag]
		why, no := notSettable[flag]
		switch {
		case !ok && !no:
			t.Errorf("%s cannot be set by an InjectionConfig: add a field to type file, or say in notSettable why not", flag)
		case ok && no:
			t.Errorf("%s is set by %s, and not settable: %s", flag, field, why)
		}
	}
	for flag := range notSettable {
		if !slices.Contains(programFlags(), flag) {
			t.Errorf("notSettable has %s, which no program has", flag)
		}
	}
}

// programFlags returns the names of the flags of both programs.
func programFlags() []string {
	var all []string
	flagsOfPrograms().VisitAll(func(f *pflag.Flag) { all = append(all, "--"+f.Name) })
	return all
}

// TestDefaultsOfFlags: if a field's default is that of its flag, its value is what the
// program uses without the flag. With another health port, the post-start hook of the
// classic order would ask at the wrong port.
func TestDefaultsOfFlags(t *testing.T) {
	want := map[string]string{
		"proxyServer.mode":    options.NewProxyClient().Mode,
		"sidecar.totalBuffer": "256MiB",
		"sidecar.logLevel":    options.NewProxyClient().LogLevel,
		"sidecar.healthPort":  strings.TrimPrefix(options.NewProxyClient().HealthAddress, ":"),
		"redirect.iptables":   options.NewInitRedirect().Iptables,
	}
	got := map[string]string{}
	for _, f := range fields() {
		if want[f.name] != "" {
			got[f.name] = f.fallback
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-programs +fields):\n%s", d)
	}
}

// TestAnnotationsAreThoseOfFields: a field's annotation is a name that this package
// knows, and no two fields share one.
func TestAnnotationsAreThoseOfFields(t *testing.T) {
	want := []string{
		annotationConfig, annotationPodCIDRs, annotationServiceCIDRs, annotationNodeCIDRs, annotationExcludeCIDRs, annotationExcludePorts, annotationExcludeUIDs,
		annotationProxyServer, annotationMode, annotationCASecret, annotationCAConfigMap, annotationClientSecret, annotationNativeSidecar,
	}
	if d := cmp.Diff(want, lockable()); d != "" {
		t.Errorf("(-names.go +fields):\n%s", d)
	}
}

// TestEveryFieldIsDocumented: docs/webhook.md shows the whole configuration.
func TestEveryFieldIsDocumented(t *testing.T) {
	_, example, ok := strings.Cut(string(read(t, "testdata/repository/webhook.md")), "\n```yaml\n"+header)
	if !ok {
		t.Fatal("docs/webhook.md has no configuration")
	}
	example, _, _ = strings.Cut(example, "\n```\n")
	for _, f := range append([]field{{name: fieldInject}}, fields()...) {
		name := f.name[strings.LastIndexByte(f.name, '.')+1:]
		if name != "ephemeral-storage" && !strings.Contains(example, name+":") { // seldom used
			t.Errorf("docs/webhook.md does not show %s", f.name)
		}
	}
}

// TestChartTakesEveryField: the schema of the chart's values has every field, except
// those that the chart itself writes.
func TestChartTakesEveryField(t *testing.T) {
	type schema struct {
		Ref         string             `json:"$ref"`
		Properties  map[string]*schema `json:"properties"`
		Definitions map[string]*schema `json:"definitions"`
	}
	root := &schema{}
	if err := json.Unmarshal(read(t, "testdata/repository/values.schema.json"), root); err != nil {
		t.Fatal(err)
	}
	for _, f := range append([]field{{name: fieldInject}}, fields()...) {
		at := root.Properties["config"]
		for name := range strings.SplitSeq(f.name, ".") {
			if at = at.Properties[name]; at == nil {
				break
			}
			if definition, ok := strings.CutPrefix(at.Ref, "#/definitions/"); ok {
				at = root.Definitions[definition]
			}
		}
		if ofChart := f.name == "version" || strings.HasPrefix(f.name, "images."); ofChart == (at != nil) {
			t.Errorf("%s: the schema has it: %v; the chart writes it: %v", f.name, at != nil, ofChart)
		}
	}
}
