// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// layers are all packages of the product but its commands. For each it lists which of our
// packages it may link, directly or through others.
var layers = map[string]struct {
	ours []string
	// foreign are those of upstreams that it may link.
	foreign []string
}{
	"internal/tunnel":              {ours: []string{"internal/clip"}},
	"internal/sockio":              {},
	"internal/options":             {ours: []string{"internal/cidr", "internal/clip", "internal/commandline/flagset", "internal/defaults", "internal/regularfile", "internal/spelling", "internal/strictyaml", "internal/tlsfiles", "internal/tunnel", "internal/yamlsyntax"}},
	"internal/commandline/flagset": {ours: []string{"internal/spelling"}},
	"internal/commandline":         {ours: []string{"internal/commandline/flagset", "internal/spelling"}},
	"internal/tlsfiles":            {ours: []string{"internal/clip", "internal/regularfile", "internal/tunnel"}},
	"internal/serverconn":          {ours: []string{"internal/clip", "internal/regularfile", "internal/sockio", "internal/tlsfiles", "internal/tunnel"}},
	"internal/relay":               {ours: []string{"internal/clip", "internal/quota", "internal/sockio", "internal/tunnel"}},
	"internal/konnectivity":        {ours: []string{"internal/clip", "internal/tunnel"}},
	"internal/http1":               {ours: []string{"internal/clip", "internal/regularfile", "internal/serverconn", "internal/sockio", "internal/tlsfiles", "internal/tunnel"}},
	"internal/spare":               {ours: []string{"internal/clip", "internal/regularfile", "internal/serverconn", "internal/sockio", "internal/tlsfiles", "internal/tunnel"}},
	"internal/konnectivity/connectmode": {
		ours: []string{
			"internal/clip", "internal/http1", "internal/konnectivity", "internal/regularfile", "internal/serverconn", "internal/sockio", "internal/spare", "internal/tlsfiles", "internal/tunnel",
		},
	},
	"internal/httpsproxy": {
		ours: []string{
			"internal/clip", "internal/http1", "internal/proxystatus", "internal/regularfile", "internal/serverconn", "internal/sockio", "internal/spare", "internal/tlsfiles", "internal/tunnel",
		},
	},
	"internal/konnectivity/grpcmode": {
		ours: []string{
			"internal/clip", "internal/grpcwire", "internal/http2wire", "internal/inbox", "internal/konnectivity", "internal/quota", "internal/regularfile", "internal/serverconn", "internal/sockio",
			"internal/tlsfiles", "internal/tunnel",
		},
		foreign: upstreams,
	},
	"internal/dialer": {
		ours: []string{
			"internal/cidr", "internal/clip", "internal/cure", "internal/grpcwire", "internal/http1", "internal/h2connect", "internal/h2proxy", "internal/http2wire", "internal/httpsproxy", "internal/inbox", "internal/konnectivity", "internal/konnectivity/connectmode",
			"internal/konnectivity/grpcmode", "internal/pause", "internal/proxystatus", "internal/quota", "internal/regularfile", "internal/serverconn", "internal/sockio", "internal/spare", "internal/status", "internal/tlsfiles", "internal/tunnel",
		},
		foreign: upstreams,
	},
	"internal/exitway": {
		ours: []string{
			"internal/clip", "internal/cure", "internal/h2connect", "internal/http2wire", "internal/inbox", "internal/pause", "internal/proxystatus", "internal/quota",
			"internal/regularfile", "internal/serverconn", "internal/sockio", "internal/status", "internal/tlsfiles", "internal/tunnel",
		},
		foreign: protobuf,
	},
	"internal/admin": {ours: []string{"internal/clip", "internal/connlimit", "internal/httpserver"}, foreign: protobuf},
	"internal/check": {
		ours: []string{
			"internal/check/ask", "internal/check/hints", "internal/check/report", "internal/check/target", "internal/check/targetconn", "internal/cidr", "internal/clip", "internal/cure", "internal/dialer", "internal/exitway", "internal/h2connect", "internal/h2proxy", "internal/grpcwire", "internal/http1", "internal/http2wire", "internal/httpsproxy", "internal/inbox", "internal/konnectivity",
			"internal/konnectivity/connectmode", "internal/konnectivity/grpcmode", "internal/pause", "internal/probe", "internal/proxystatus", "internal/quota", "internal/regularfile", "internal/serverconn", "internal/sockdiag", "internal/sockio", "internal/spare",
			"internal/status", "internal/tlsfiles", "internal/tunnel",
		},
		foreign: upstreams,
	},
	"internal/check/ask":        {ours: []string{"internal/clip"}},
	"internal/check/hints":      {ours: []string{"internal/check/ask", "internal/clip"}},
	"internal/check/report":     {ours: []string{"internal/clip"}},
	"internal/check/target":     {},
	"internal/check/targetconn": {ours: []string{"internal/clip", "internal/tunnel"}},
	"internal/cidr":             {},
	"internal/clip":             {},
	"internal/connlimit":        {},
	"internal/cure":             {},
	"internal/defaults":         {},
	"internal/exitpolicy":       {ours: []string{"internal/clip", "internal/spelling", "internal/strictyaml", "internal/yamlsyntax"}},
	"internal/exitserver": {
		ours:    []string{"internal/clip", "internal/exitpolicy", "internal/h2server", "internal/pause", "internal/regularfile", "internal/repetition", "internal/sockio", "internal/spelling", "internal/strictyaml", "internal/yamlsyntax"},
		foreign: protobuf,
	},
	"internal/h2server":   {},
	"internal/httpserver": {ours: []string{"internal/connlimit"}},
	"internal/grpcwire":   {ours: []string{"internal/clip", "internal/http2wire", "internal/sockio"}, foreign: upstreams},
	"internal/http2wire":  {ours: []string{"internal/clip", "internal/sockio"}},
	"internal/h2connect": {
		ours: []string{"internal/clip", "internal/http2wire", "internal/inbox", "internal/proxystatus", "internal/quota", "internal/sockio", "internal/tunnel"},
	},
	"internal/inbox": {ours: []string{"internal/clip", "internal/quota", "internal/tunnel"}},
	"internal/h2proxy": {
		ours: []string{
			"internal/clip", "internal/h2connect", "internal/http2wire", "internal/inbox", "internal/pause", "internal/proxystatus", "internal/quota", "internal/regularfile", "internal/serverconn", "internal/sockio",
			"internal/tlsfiles", "internal/tunnel",
		},
	},
	"internal/proxystatus": {ours: []string{"internal/clip", "internal/tunnel"}},
	"internal/pause":       {},
	"internal/probe":       {ours: []string{"internal/cidr"}},
	"internal/proxy": {
		ours: []string{
			"internal/cidr", "internal/clip", "internal/cure", "internal/probe", "internal/quota", "internal/relay", "internal/repetition", "internal/sockdiag", "internal/sockio",
			"internal/status", "internal/tunnel", "pkg/origdst",
		},
		foreign: protobuf,
	},
	"internal/quota":        {},
	"internal/regularfile":  {},
	"internal/repetition":   {},
	"internal/sockdiag":     {},
	"internal/spelling":     {},
	"internal/status":       {},
	"internal/statuspage":   {},
	"internal/statusserver": {ours: []string{"internal/connlimit", "internal/httpserver", "internal/pause", "internal/status", "internal/statuspage"}},
	"internal/strictyaml":   {ours: []string{"internal/clip", "internal/spelling", "internal/yamlsyntax"}},
	"internal/yamlsyntax":   {},
	"pkg/origdst":           {},
	"pkg/redirect": {
		ours: append(belowRedirect("condition", "conntrack", "explain", "family", "iptables", "kernelerror", "kernelprobe", "netfilter", "netlinkdump", "netnamespace",
			"nftables", "podnetwork", "probing", "process", "routes", "rule", "ruletext", "userns"), "internal/cidr", "internal/probe", "pkg/origdst"),
	},
	"pkg/redirect/internal/condition":    {},
	"pkg/redirect/internal/conntrack":    {ours: belowRedirect("family", "kernelerror", "netlinkdump")},
	"pkg/redirect/internal/explain":      {ours: belowRedirect("family", "netfilter", "netlinkdump", "podnetwork")},
	"pkg/redirect/internal/family":       {},
	"pkg/redirect/internal/iptables":     {ours: belowRedirect("condition", "family", "kernelerror", "netlinkdump", "nftables", "process")},
	"pkg/redirect/internal/kernelerror":  {},
	"pkg/redirect/internal/kernelprobe":  {ours: belowRedirect("condition", "family", "iptables", "kernelerror", "netlinkdump", "nftables", "process")},
	"pkg/redirect/internal/netfilter":    {},
	"pkg/redirect/internal/netlinkdump":  {},
	"pkg/redirect/internal/netnamespace": {ours: belowRedirect("kernelerror", "process")},
	"pkg/redirect/internal/nftables":     {ours: belowRedirect("condition", "family", "kernelerror", "netlinkdump")},
	"pkg/redirect/internal/podnetwork":   {ours: belowRedirect("family", "netlinkdump")},
	"pkg/redirect/internal/probing":      {ours: []string{"internal/cidr", "internal/probe", "pkg/origdst"}},
	"pkg/redirect/internal/process":      {},
	"pkg/redirect/internal/routes":       {ours: belowRedirect("family", "kernelerror", "netlinkdump", "podnetwork")},
	"pkg/redirect/internal/rule":         {ours: belowRedirect("condition", "family", "iptables", "kernelerror", "netlinkdump", "nftables", "process")},
	"pkg/redirect/internal/ruletext": {
		ours: belowRedirect("condition", "family", "iptables", "kernelerror", "netfilter", "netlinkdump", "nftables", "process"),
	},
	"pkg/redirect/internal/userns": {},
	"webhook":                      {ours: webhookLinks("internal/commandline"), foreign: kubernetes},
	"webhook/bundle":               {ours: inspectLinks("webhook/inspect", "webhook/sidecar"), foreign: kubernetes},
	"webhook/dryrun":               {ours: webhookLinks("internal/commandline", "webhook"), foreign: kubernetes},
	"webhook/inspect":              {ours: inspectLinks(), foreign: kubernetes},
	"webhook/internal/apiclients":  {foreign: kubernetes},
	"webhook/internal/configfile":  {ours: settingsLinks(), foreign: kubernetes},
	"webhook/internal/kubeconfig":  {ours: []string{"internal/clip", "internal/commandline/flagset", "internal/spelling", "internal/yamlsyntax"}, foreign: kubernetes},
	"webhook/internal/netpolicy":   {foreign: kubernetes},
	"webhook/internal/poddiff":     {foreign: kubernetes},
	"webhook/internal/podpatch":    {foreign: kubernetes},
	"webhook/internal/podquota":    {foreign: kubernetes},
	"webhook/internal/reading":     {ours: []string{"webhook/report"}, foreign: kubernetes},
	"webhook/internal/tlsobject":   {ours: []string{"internal/clip", "internal/regularfile", "internal/tlsfiles", "internal/tunnel", "webhook/internal/reading", "webhook/report"}, foreign: kubernetes},
	"webhook/internal/tlstrial":    {},
	"webhook/internal/workloads":   {ours: []string{"webhook/internal/apiclients", "webhook/internal/reading", "webhook/report"}, foreign: kubernetes},
	"webhook/internal/yamltext":    {},
	"webhook/manifest":             {ours: webhookLinks("internal/commandline", "webhook", "webhook/internal/yamltext"), foreign: kubernetes},
	"webhook/report":               {},
	"webhook/serve":                {ours: webhookLinks("internal/admin", "internal/commandline", "internal/connlimit", "internal/httpserver", "internal/pause", "webhook", "webhook/internal/podpatch", "webhook/source"), foreign: kubernetes},
	"webhook/shoot":                {ours: inspectLinks("webhook/inspect"), foreign: kubernetes},
	"webhook/sidecar":              {ours: webhookLinks("internal/commandline", "webhook"), foreign: kubernetes},
	"webhook/source":               {ours: webhookLinks("internal/commandline", "webhook"), foreign: kubernetes},
}

// belowRedirect returns the paths of packages of pkg/redirect/internal.
func belowRedirect(names ...string) []string {
	var all []string
	for _, name := range names {
		all = append(all, "pkg/redirect/internal/"+name)
	}
	return all
}

// settingsLinks returns the settings of the sidecar, and the paths of other packages.
func settingsLinks(others ...string) []string {
	return append([]string{
		"internal/cidr", "internal/clip", "internal/commandline/flagset", "internal/defaults", "internal/options", "internal/regularfile", "internal/spelling",
		"internal/strictyaml", "internal/tlsfiles", "internal/tunnel", "internal/yamlsyntax",
	}, others...)
}

// webhookLinks returns what the webhook knows of the sidecar, which is its settings, with
// the format of its own, and the paths of other packages.
func webhookLinks(others ...string) []string {
	return settingsLinks(append([]string{"webhook/internal/configfile"}, others...)...)
}

// inspectLinks returns what an inspection of an installation links, and the paths of other
// packages.
func inspectLinks(others ...string) []string {
	return append(webhookLinks("internal/commandline", "webhook", "webhook/dryrun", "webhook/internal/apiclients", "webhook/internal/netpolicy",
		"webhook/internal/poddiff", "webhook/internal/podquota", "webhook/internal/reading", "webhook/internal/tlsobject", "webhook/internal/tlstrial",
		"webhook/internal/workloads", "webhook/report", "webhook/source"), others...)
}

var (
	// upstreams are the module paths that only some layers may link: those of gRPC, of
	// upstream's protocol and of Kubernetes.
	upstreams = append(kubernetes, "google.golang.org/grpc/", "github.com/golang/protobuf/")
	// kubernetes are those of its libraries, which link protobuf.
	kubernetes = append(protobuf, "k8s.io/", "sigs.k8s.io/")
	// protobuf is what Prometheus' library links.
	protobuf = []string{"google.golang.org/protobuf/"}
)

// layerDependencies returns every package that is linked into a layer.
func layerDependencies(t *testing.T, layer string) []string {
	t.Helper()
	if own, is := strings.CutPrefix(layer, "webhook"); is {
		return strings.Fields(goTool(t, "list", "-C", "webhook", "-deps", "."+own))
	}
	return dependencies(t, "./"+layer)
}

// TestLayers: each package links only what its layer may, also through other packages.
func TestLayers(t *testing.T) {
	for layer, may := range layers {
		for _, pkg := range layerDependencies(t, layer) {
			own, isOurs := strings.CutPrefix(pkg, module+"/")
			flags := []string{"internal/options/", "internal/commandline/", "webhook/"}
			switch {
			case isOurs && own != layer && !slices.Contains(may.ours, own):
				t.Errorf("%s links %s, which is not one of its layer", layer, own)
			case under(pkg, upstreams...) && !under(pkg, may.foreign...):
				t.Errorf("%s links %s", layer, pkg)
			case !under(layer, flags...) && under(pkg, "github.com/spf13/"):
				t.Errorf("%s links %s: flags belong to internal/options", layer, pkg)
			}
		}
	}
}

// TestEveryPackageHasALayer: what a package may link is decided when it is made.
func TestEveryPackageHasALayer(t *testing.T) {
	found := map[string]bool{}
	for _, folder := range []string{".", "webhook"} {
		for pkg := range strings.FieldsSeq(goTool(t, "list", "-C", folder, "./...")) {
			own := strings.TrimPrefix(pkg, module+"/")
			if under(own, "cmd/", "webhook/cmd/", "internal/repository/") || strings.HasSuffix(own, "test") {
				continue // commands link all, and tests anything
			}
			found[own] = true
			if _, is := layers[own]; !is {
				t.Errorf("%s has no row in the table of layers", own)
			}
		}
	}
	for layer := range layers {
		if !found[layer] {
			t.Errorf("the table of layers has a row for %s, which is no package", layer)
		}
	}
}

// TestOnlyOptionsNamesFlags: the packages of the data path are told what a setting is
// called, so that another program can give it another name.
func TestOnlyOptionsNamesFlags(t *testing.T) {
	flag := regexp.MustCompile(`(^|[^-])--[a-z]`)
	checked := 0
	for _, file := range sources(t) {
		if file.isTest() || !under(file.dir(), "internal/tunnel/", "internal/tlsfiles/", "internal/serverconn/", "internal/dialer/", "internal/exitway/", "internal/konnectivity/",
			"internal/grpcwire/", "internal/http2wire/", "internal/h2connect/", "internal/h2proxy/", "internal/relay/", "internal/proxy/", "internal/probe/", "internal/quota/", "internal/cidr/") {
			continue
		}
		checked++
		ast.Inspect(file.ast, func(n ast.Node) bool {
			if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING && flag.MatchString(text.Value) {
				t.Errorf("%s:%d names a flag: %s", file.path, file.line(text.Pos()), text.Value)
			}
			return true
		})
	}
	if checked == 0 {
		t.Error("found no file of these packages")
	}
}

// TestContractIsSmall: the packages that both sides of the contract import need only
// the standard library.
func TestContractIsSmall(t *testing.T) {
	for _, pkg := range []string{"internal/tunnel", "internal/clip"} {
		for _, dep := range strings.Fields(goTool(t, "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./"+pkg)) {
			if !under(dep, module) {
				t.Errorf("%s links %s, want the standard library alone", pkg, dep)
			}
		}
	}
}
