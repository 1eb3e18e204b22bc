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

// layers are the packages between a program and the tunnel, and those between pkg/redirect
// and the kernel. For each it lists which of our packages it may link, directly or
// through others.
var layers = map[string]struct {
	ours []string
	// upstream means that it may link gRPC, protobuf and upstream's protocol.
	upstream bool
}{
	"internal/tunnel":              {ours: []string{"internal/clip"}},
	"internal/sockio":              {},
	"internal/options":             {ours: []string{"internal/cidr", "internal/clip", "internal/commandline/flagset", "internal/defaults", "internal/spelling", "internal/strictyaml", "internal/tlsfiles", "internal/tunnel", "internal/yamlsyntax"}},
	"internal/commandline/flagset": {ours: []string{"internal/spelling"}},
	"internal/commandline":         {ours: []string{"internal/commandline/flagset", "internal/spelling"}},
	"internal/tlsfiles":            {ours: []string{"internal/clip", "internal/tunnel"}},
	"internal/serverconn":          {ours: []string{"internal/clip", "internal/sockio", "internal/tlsfiles", "internal/tunnel"}},
	"internal/relay":               {ours: []string{"internal/clip", "internal/quota", "internal/sockio", "internal/tunnel"}},
	"internal/konnectivity":        {ours: []string{"internal/clip", "internal/tunnel"}},
	"internal/konnectivity/connectmode": {
		ours: []string{"internal/clip", "internal/konnectivity", "internal/serverconn", "internal/sockio", "internal/tlsfiles", "internal/tunnel"},
	},
	"internal/konnectivity/grpcmode": {
		ours: []string{
			"internal/clip", "internal/grpcwire", "internal/konnectivity", "internal/quota", "internal/serverconn", "internal/sockio",
			"internal/tlsfiles", "internal/tunnel",
		},
		upstream: true,
	},
	"internal/dialer": {
		ours: []string{
			"internal/cidr", "internal/clip", "internal/grpcwire", "internal/konnectivity", "internal/konnectivity/connectmode",
			"internal/konnectivity/grpcmode", "internal/pause", "internal/quota", "internal/serverconn", "internal/sockio", "internal/tlsfiles", "internal/tunnel",
		},
		upstream: true,
	},
	"pkg/redirect/internal/condition":    {},
	"pkg/redirect/internal/conntrack":    {ours: belowRedirect("family", "kernelerror", "netlinkdump")},
	"pkg/redirect/internal/family":       {},
	"pkg/redirect/internal/iptables":     {ours: belowRedirect("condition", "family", "kernelerror", "netlinkdump", "nftables", "process")},
	"pkg/redirect/internal/kernelerror":  {},
	"pkg/redirect/internal/kernelprobe":  {ours: belowRedirect("condition", "family", "iptables", "kernelerror", "netlinkdump", "nftables", "process")},
	"pkg/redirect/internal/netlinkdump":  {},
	"pkg/redirect/internal/netnamespace": {ours: belowRedirect("kernelerror", "process")},
	"pkg/redirect/internal/nftables":     {ours: belowRedirect("condition", "family", "kernelerror", "netlinkdump")},
	"pkg/redirect/internal/podnetwork":   {ours: belowRedirect("family", "netlinkdump")},
	"pkg/redirect/internal/probing":      {ours: []string{"internal/cidr", "internal/probe", "pkg/origdst"}},
	"pkg/redirect/internal/process":      {},
	"pkg/redirect/internal/routes":       {ours: belowRedirect("family", "kernelerror", "netlinkdump", "podnetwork")},
	"pkg/redirect/internal/userns":       {},
}

// belowRedirect returns the paths of packages of pkg/redirect/internal.
func belowRedirect(names ...string) []string {
	var all []string
	for _, name := range names {
		all = append(all, "pkg/redirect/internal/"+name)
	}
	return all
}

// upstreams are the module paths that only a layer with upstream may link.
var upstreams = []string{"google.golang.org/grpc/", "google.golang.org/protobuf/", "github.com/golang/protobuf/", "k8s.io/", "sigs.k8s.io/"}

// TestLayers: each package links only what its layer may, also through other packages.
func TestLayers(t *testing.T) {
	for layer, may := range layers {
		for _, pkg := range dependencies(t, "./"+layer) {
			own, isOurs := strings.CutPrefix(pkg, module+"/")
			switch {
			case isOurs && own != layer && !slices.Contains(may.ours, own):
				t.Errorf("%s links %s, which is not one of its layer", layer, own)
			case !may.upstream && under(pkg, upstreams...):
				t.Errorf("%s links %s", layer, pkg)
			case !under(layer, "internal/options/", "internal/commandline/") && under(pkg, "github.com/spf13/"):
				t.Errorf("%s links %s: flags belong to internal/options", layer, pkg)
			}
		}
	}
}

// TestOnlyOptionsNamesFlags: the packages that make a tunnel are told what a setting is
// called, so that another program can give it another name.
func TestOnlyOptionsNamesFlags(t *testing.T) {
	flag := regexp.MustCompile(`(^|[^-])--[a-z]`)
	checked := 0
	for _, file := range sources(t) {
		if file.isTest() || !under(file.dir(), "internal/tunnel/", "internal/tlsfiles/", "internal/serverconn/", "internal/dialer/", "internal/konnectivity/") {
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
