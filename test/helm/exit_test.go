// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/options"
)

// exitObjects renders the exit's chart with a text of values.
func exitObjects(t *testing.T, values string) []object {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	write(t, file, values)
	text, err := templateOf(t, exitChart, file)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, text)
}

// TestExitTemplate compares what the exit's chart makes of each file in its folder ci.
func TestExitTemplate(t *testing.T) {
	names := map[string]bool{}
	for _, file := range files(t, exitChart+"/ci/*-values.yaml") {
		name := strings.TrimSuffix(filepath.Base(file), "-values.yaml")
		names[name+".yaml"] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := templateOf(t, exitChart, file)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, "testdata/exit/golden/"+name+".yaml", text)
			seen := map[string]bool{}
			for _, o := range parse(t, text) {
				if seen[o.name()] {
					t.Errorf("there are two of %s", o.name())
				}
				seen[o.name()] = true
				if in := o.at("metadata", "namespace"); in != namespace && !strings.HasSuffix(o.name(), "-agents") {
					t.Errorf("%s is in namespace %v, not the release's", o.name(), in)
				}
			}
		})
	}
	for _, file := range files(t, "testdata/exit/golden/*.yaml") {
		if !names[filepath.Base(file)] {
			t.Errorf("%s belongs to no file in %s/ci: remove it", file, exitChart)
		}
	}
}

// TestExitHasNoToken: no pod of the exit can use the API server.
func TestExitHasNoToken(t *testing.T) {
	objects := exitObjects(t, "{}")
	for path, o := range map[string]any{
		"Deployment":     find(t, objects, "Deployment").at("spec", "template", "spec", "automountServiceAccountToken"),
		"ServiceAccount": find(t, objects, "ServiceAccount")["automountServiceAccountToken"],
	} {
		if o != false {
			t.Errorf("%s: automountServiceAccountToken is %v", path, o)
		}
	}
	for _, o := range objects {
		if kind, _ := o["kind"].(string); strings.Contains(kind, "Role") {
			t.Errorf("there is %s: the exit needs no right", o.name())
		}
	}
}

// TestExitIsDisabled: a chart that is switched off without a parent's condition renders
// nothing.
func TestExitIsDisabled(t *testing.T) {
	everything := read(t, exitChart+"/ci/everything-values.yaml")
	if objects := exitObjects(t, strings.Replace(everything, "enabled: true", "enabled: false", 1)); len(objects) > 0 {
		t.Errorf("there are %d objects, the first one %s", len(objects), objects[0].name())
	}
}

// egressOf returns the rules of egress of the only NetworkPolicy, each as its networks and
// its ports. A peer that is no network is its kind of selector.
func egressOf(t *testing.T, objects []object) []string {
	t.Helper()
	var all []string
	rules, _ := find(t, objects, "NetworkPolicy").at("spec", "egress").([]any)
	for _, r := range rules {
		rule := object(r.(map[string]any))
		var to, ports []string
		for _, p := range rule["to"].([]any) {
			peer := object(p.(map[string]any))
			if network, ok := peer.at("ipBlock", "cidr").(string); ok {
				to = append(to, network)
			} else {
				to = append(to, "pods")
			}
		}
		for _, p := range rule["ports"].([]any) {
			port := object(p.(map[string]any))
			text := fmt.Sprint(port["port"])
			if end := port["endPort"]; end != nil {
				text += fmt.Sprint("-", end)
			}
			ports = append(ports, text+"/"+fmt.Sprint(port["protocol"]))
		}
		all = append(all, strings.Join(to, " ")+" "+strings.Join(ports, " "))
	}
	return all
}

// TestExitReachesWhatItsPolicyAllows: the NetworkPolicy has the networks and the ports of
// each rule, and DNS only if a rule has names.
func TestExitReachesWhatItsPolicyAllows(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		want        []string
	}{
		{"no rule", "[]", nil},
		{"all ports", "[{clients: [{commonName: a}], cidrs: [10.0.0.0/8]}]", []string{"10.0.0.0/8 1-65535/TCP"}},
		{
			"names", "[{clients: [{commonName: a}], cidrs: [10.0.0.0/8, 'fd00::/48'], names: ['*'], ports: [80, '8000-8999', '0443']}]",
			[]string{"10.0.0.0/8 fd00::/48 80/TCP 8000-8999/TCP 443/TCP", "pods 53/UDP 53/TCP 8053/UDP 8053/TCP"},
		},
		{
			"two rules", "[{clients: [{commonName: a}], cidrs: [10.1.0.0/16], ports: [80]}, {clients: [{uri: 'spiffe://a/b'}], cidrs: [10.2.0.0/16], ports: [443]}]",
			[]string{"10.1.0.0/16 80/TCP", "10.2.0.0/16 443/TCP"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := egressOf(t, exitObjects(t, "policy: {rules: "+tt.rules+"}"))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("egress (-policy +NetworkPolicy):\n%s", diff)
			}
		})
	}
}

// TestNoRuleMeansNoEgress: a NetworkPolicy without a rule of egress has to name the
// direction, or it would allow everything.
func TestNoRuleMeansNoEgress(t *testing.T) {
	types := list(find(t, exitObjects(t, "{}"), "NetworkPolicy").at("spec", "policyTypes"))
	if !slices.Contains(types, "Egress") || !slices.Contains(types, "Ingress") {
		t.Errorf("the NetworkPolicy is for %q", types)
	}
}

// TestExitKnowsWhatItIsGiven: the program's own code parses the chart's arguments. The chart
// refuses an extra argument that it sets itself.
func TestExitKnowsWhatItIsGiven(t *testing.T) {
	containers, _ := find(t, exitObjects(t, "{}"), "Deployment").at("spec", "template", "spec", "containers").([]any)
	args := list(containers[0].(map[string]any)["args"])
	if len(args) < 10 || args[0] != "serve" {
		t.Fatalf("the chart gives %q", args)
	}
	flags := pflag.NewFlagSet("proxy-exit", pflag.ContinueOnError)
	options.NewProxyExit().AddFlags(flags)
	if err := flags.Parse(args[1:]); err != nil {
		t.Errorf("the exit does not take its arguments: %v", err)
	}
	r := newRendererOf(t, exitChart).checksOnly()
	for _, arg := range args[1:] {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if _, err := r.render("extraArgs: [--" + name + "=x]"); err == nil || !strings.Contains(err.Error(), "extraArgs") {
			t.Errorf("extraArgs may repeat --%s: %v", name, err)
		}
	}
}

// TestExitLimits: one client may have a half of all connections to targets, if the values say
// nothing. The memory limit counts the clients' connections.
func TestExitLimits(t *testing.T) {
	for values, want := range map[string][]string{
		"{}":                    {"--max-connections=1024", "--max-streams=8192", "--max-client-streams=4096"},
		"exit: {maxStreams: 1}": {"--max-connections=1024", "--max-streams=1", "--max-client-streams=1"},
		"exit: {maxStreams: 9, maxClientStreams: 9}":                                             {"--max-connections=1024", "--max-streams=9", "--max-client-streams=9"},
		"{exit: {maxConnections: 64}, resources: {limits: {memory: 416Mi}}}":                     {"--max-connections=64", "--max-streams=8192", "--max-client-streams=4096"},
		"{exit: {maxConnections: 1000000, totalBuffer: 0}, resources: {limits: {memory: null}}}": {"--max-connections=1000000", "--max-streams=8192", "--max-client-streams=4096"},
	} {
		containers, _ := find(t, exitObjects(t, values), "Deployment").at("spec", "template", "spec", "containers").([]any)
		args := list(containers[0].(map[string]any)["args"])
		got := slices.DeleteFunc(args, func(arg string) bool { return !strings.HasPrefix(arg, "--max-") })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", values, diff)
		}
	}
}

// TestChartsShareTheirTemplates: both charts have the same templates about addresses and
// amounts, apart from their names. Helm has no way to share a file.
func TestChartsShareTheirTemplates(t *testing.T) {
	for _, name := range []string{"_address.tpl", "_amount.tpl"} {
		want := strings.ReplaceAll(read(t, chart+"/templates/"+name), `"proxy-client.`, `"proxy-exit.`)
		if diff := cmp.Diff(want, read(t, exitChart+"/templates/"+name)); diff != "" {
			t.Errorf("%s of %s is another (-%s +%s):\n%s", name, exitChart, chart, exitChart, diff)
		}
	}
}
