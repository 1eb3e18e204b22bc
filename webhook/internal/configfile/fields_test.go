// SPDX-License-Identifier: Apache-2.0

package configfile

import (
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
	for _, f := range Fields() {
		c := &File{}
		if got := f.Of(c); got != nil {
			t.Errorf("%s: an empty file says %q", f.Name, got)
		}
		f.Set(c, []string{"a=b"})
		if got := f.Of(c); !slices.Equal(got, []string{"a=b"}) {
			t.Errorf("%s: set to a=b it is %q", f.Name, got)
		}
		if f.Flag != "" && !slices.Contains(flags, f.Flag) {
			t.Errorf("%s: no program has a flag %s", f.Name, f.Flag)
		}
	}
}

// notSettable are flags that no field of an InjectionConfig sets, with the reason.
var notSettable = map[string]string{
	"--ca-cert":                     "the file is where the volume of proxyServer.tls.caSecret is mounted",
	"--client-cert":                 "the file is where the volume of proxyServer.tls.clientSecret is mounted",
	"--client-key":                  "the file is where the volume of proxyServer.tls.clientSecret is mounted",
	"--exit-ca-cert":                "the file is where the volume of exit.tls.caSecret is mounted",
	"--exit-client-cert":            "the file is where the volume of exit.tls.clientSecret is mounted",
	"--exit-client-key":             "the file is where the volume of exit.tls.clientSecret is mounted",
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
	for _, f := range Fields() {
		settable[f.Flag] = f.Name
	}
	for _, flag := range programFlags() {
		field, ok := settable[flag]
		why, no := notSettable[flag]
		switch {
		case !ok && !no:
			t.Errorf("%s cannot be set by an InjectionConfig: add a field to type File, or say in notSettable why not", flag)
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
	for _, f := range Fields() {
		if want[f.Name] != "" {
			got[f.Name] = f.Fallback
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-programs +fields):\n%s", d)
	}
}
