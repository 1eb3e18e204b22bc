// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// exampleRange finds the address ranges in an example, with what they belong to: a
// field of the webhook's configuration or of kind's, or a flag.
var exampleRange = regexp.MustCompile(`(?i)(pod|service|node)(?:-?CIDRs?|Subnet)(?:: *|=)\[?((?:[" ,]*[0-9a-f.:]+/[0-9]+"?)+)`)

// In all examples for users, an address belongs to a pod, or to a Service, or to a
// node, and always to the same one. Users combine examples, and must not confuse them.
func TestExamplesAgreeOnAddresses(t *testing.T) {
	ranges := map[string][]netip.Prefix{
		"pod":     {netip.MustParsePrefix("100.64.0.0/12"), netip.MustParsePrefix("fd10:64::/48")},
		"service": {netip.MustParsePrefix("100.104.0.0/13"), netip.MustParsePrefix("fd10:104::/48")},
		"node":    {netip.MustParsePrefix("10.250.0.0/16"), netip.MustParsePrefix("fd10:250::/48")},
	}
	found := 0
	walkExamples(t, func(name, text string) {
		for _, match := range exampleRange.FindAllStringSubmatch(text, -1) {
			for value := range strings.SplitSeq(match[2], ",") {
				example, err := netip.ParsePrefix(strings.Trim(value, `" `))
				if err != nil {
					t.Errorf("%s: %s: %v", name, match[0], err)
					continue
				}
				found++
				if !within(example, ranges[strings.ToLower(match[1])]) {
					t.Errorf("%s: %s is in none of %v, where the other examples have these addresses", name, match[0], ranges[strings.ToLower(match[1])])
				}
			}
		}
	})
	if found < 25 {
		t.Errorf("%d ranges were found in examples, and there are more", found)
	}
}

// exampleServer finds the port of a proxy-server in an example: in the webhook's
// configuration, in a flag, or of the balancer before a server.
var exampleServer = regexp.MustCompile(`(?:proxy-server|konnectivity-server|192\.0\.2\.[23])[a-z0-9.-]*:([0-9]+)`)

// Clients connect to a proxy-server at its own default port. 8132 is the port at which
// other systems accept agents. A user who copies that from an example connects to the
// wrong port.
func TestExamplesUseThePortForClients(t *testing.T) {
	found := 0
	walkExamples(t, func(name, text string) {
		for _, match := range exampleServer.FindAllStringSubmatch(text, -1) {
			found++
			if match[1] != "8090" {
				t.Errorf("%s: %s has the port %s, and clients come to 8090", name, match[0], match[1])
			}
		}
	})
	if found < 15 {
		t.Errorf("%d proxy-servers were found in examples, and there are more", found)
	}
}

// walkExamples visits what users read and copy from: documents, charts and manifests,
// and the package comment of each program.
func walkExamples(t *testing.T, visit func(name, text string)) {
	t.Helper()
	walk(t, func(path string) {
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		top, _, _ := strings.Cut(name, string(filepath.Separator))
		if top != "README.md" && top != "docs" && top != "charts" && top != "deploy" && top != "examples" && !strings.HasSuffix(name, "main.go") {
			return
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		visit(name, string(text))
	})
}

func within(p netip.Prefix, ranges []netip.Prefix) bool {
	for _, r := range ranges {
		if r.Contains(p.Addr()) && r.Bits() <= p.Bits() {
			return true
		}
	}
	return false
}
