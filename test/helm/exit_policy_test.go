// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
)

// judgePolicy returns the exit's verdict on a list of rules, helm's verdict on it, and the
// exit's verdict on what helm makes of it.
func judgePolicy(r renderer, rules string) (exit, helm, installed error) {
	const header = "apiVersion: config.shoot-proxy.io/v1alpha1\nkind: ExitPolicy\n"
	_, exit = exitpolicy.Parse([]byte(header + "rules: " + rules + "\n"))
	rendered, helm := r.render("policy: {rules: " + rules + "}\n")
	if helm != nil {
		return exit, helm, nil
	}
	var object struct{ Data map[string]string }
	if installed = yaml.Unmarshal([]byte(rendered["proxy-exit/templates/configmap.yaml"]), &object); installed == nil {
		_, installed = exitpolicy.Parse([]byte(object.Data["policy.yaml"]))
	}
	return exit, helm, installed
}

// aRule returns a list of one rule, in which fields are added to clients and cidrs.
func aRule(fields string) string {
	rule := "[{"
	if !strings.Contains(fields, "clients:") {
		rule += "clients: [{commonName: a}], "
	}
	if !strings.Contains(fields, "cidrs:") {
		rule += "cidrs: [10.0.0.0/8], "
	}
	return rule + fields + "}]"
}

// TestHelmRefusesWhatTheExitRefuses: if the exit refuses a policy, helm refuses it before
// anything is installed, and names the mistake.
func TestHelmRefusesWhatTheExitRefuses(t *testing.T) {
	r := newRendererOf(t, exitChart).checksOnly()
	for _, tt := range []struct{ name, rules, want string }{
		{"a map for rules", "{}", "/policy/rules"},
		{"unknown field", aRule("port: ['1']"), "port"},
		{"no clients", aRule("clients: []"), "/policy/rules/0/clients"},
		{"an empty client", aRule("clients: [{}]"), "/policy/rules/0/clients/0"},
		{"an unknown selector", aRule("clients: [{organization: a}]"), "organization"},
		{"two selectors in one", aRule("clients: [{commonName: a, uri: 'a://b/c'}]"), "/policy/rules/0/clients/0"},
		{"an empty common name", aRule("clients: [{commonName: ''}]"), "/policy/rules/0/clients/0/commonName"},
		{"a pattern of common names", aRule("clients: [{commonName: 'a*'}]"), `policy.rules[0].clients[0].commonName "a*"`},
		{"an empty DNS name", aRule("clients: [{dnsName: ''}]"), "/policy/rules/0/clients/0/dnsName"},
		{"all DNS names", aRule("clients: [{dnsName: '*'}]"), `policy.rules[0].clients[0].dnsName "*"`},
		{"* inside of a DNS name", aRule("clients: [{dnsName: 'a.*.b'}]"), `policy.rules[0].clients[0].dnsName "a.*.b"`},
		{"a DNS name with a dot", aRule("clients: [{dnsName: 'a.b.'}]"), `policy.rules[0].clients[0].dnsName "a.b."`},
		{"a DNS name with a space", aRule("clients: [{dnsName: 'a b'}]"), `policy.rules[0].clients[0].dnsName "a b"`},
		{"an empty URI", aRule("clients: [{uri: ''}]"), "/policy/rules/0/clients/0/uri"},
		{"a URI without a scheme", aRule("clients: [{uri: seed/ns}]"), `policy.rules[0].clients[0].uri "seed/ns"`},
		{"a URI without a host", aRule("clients: [{uri: 'spiffe:///ns'}]"), `policy.rules[0].clients[0].uri "spiffe:///ns"`},
		{"* inside of a URI", aRule("clients: [{uri: 'spiffe://seed/*/a'}]"), `policy.rules[0].clients[0].uri "spiffe://seed/*/a"`},
		{"* in a URI's host", aRule("clients: [{uri: 'spiffe://seed*'}]"), `policy.rules[0].clients[0].uri "spiffe://seed*"`},
		{"* in a segment of a URI", aRule("clients: [{uri: 'spiffe://seed/ns/mon*'}]"), `policy.rules[0].clients[0].uri "spiffe://seed/ns/mon*"`},
		{"* in a segment behind a colon", aRule("clients: [{uri: 'spiffe://seed/ns:*'}]"), `policy.rules[0].clients[0].uri "spiffe://seed/ns:*"`},
		{"* in a part of a URN", aRule("clients: [{uri: 'urn:a:b*'}]"), `policy.rules[0].clients[0].uri "urn:a:b*"`},
		{"no URI", aRule("clients: [{uri: 'a:// b'}]"), "a:// b"},
		{"no cidrs", aRule("cidrs: []"), "/policy/rules/0/cidrs"},
		{"no CIDR", aRule("cidrs: [nowhere]"), `policy.rules[0].cidrs "nowhere"`},
		{"an address", aRule("cidrs: [10.0.0.1]"), `policy.rules[0].cidrs "10.0.0.1"`},
		{"an IPv6 address", aRule("cidrs: ['fd00::1']"), `policy.rules[0].cidrs "fd00::1"`},
		{"host bits", aRule("cidrs: [10.0.0.1/8]"), `policy.rules[0].cidrs "10.0.0.1/8"`},
		{"length 33", aRule("cidrs: [10.0.0.0/33]"), `policy.rules[0].cidrs "10.0.0.0/33"`},
		{"a space", aRule("cidrs: [' 10.0.0.0/8']"), `policy.rules[0].cidrs " 10.0.0.0/8"`},
		{"IPv4 written as IPv6", aRule("cidrs: ['::ffff:10.0.0.0/104']"), `policy.rules[0].cidrs "::ffff:10.0.0.0/104"`},
		{"IPv6 with a zone", aRule("cidrs: ['fe80::%eth0/64']"), `policy.rules[0].cidrs "fe80::%eth0/64"`},
		{"no names", aRule("names: []"), "/policy/rules/0/names"},
		{"an empty name", aRule("names: ['']"), "/policy/rules/0/names/0"},
		{"* in a label", aRule("names: ['a*.b']"), `policy.rules[0].names "a*.b"`},
		{"two *", aRule("names: ['*.*.b']"), `policy.rules[0].names "*.*.b"`},
		{"* without a dot", aRule("names: ['*b']"), `policy.rules[0].names "*b"`},
		{"a name with a dot", aRule("names: ['a.b.']"), `policy.rules[0].names "a.b."`},
		{"an address as name", aRule("names: ['10.0.0.1']"), `policy.rules[0].names "10.0.0.1"`},
		{"a hexadecimal address", aRule("names: ['0x7f000001']"), `policy.rules[0].names "0x7f000001"`},
		{"an empty label", aRule("names: ['a..b']"), `policy.rules[0].names "a..b"`},
		{"a label with a hyphen", aRule("names: ['-a.b']"), `policy.rules[0].names "-a.b"`},
		{"a long label", aRule("names: ['" + strings.Repeat("a", 64) + ".b']"), "policy.rules[0].names"},
		{"a long name", aRule("names: ['" + strings.Repeat("abc.", 63) + "ab']"), "policy.rules[0].names"},
		{"no ports", aRule("ports: []"), "/policy/rules/0/ports"},
		{"port 0", aRule("ports: [0]"), `policy.rules[0].ports "0"`},
		{"port 65536", aRule("ports: ['65536']"), `policy.rules[0].ports "65536"`},
		{"no port", aRule("ports: [http]"), `policy.rules[0].ports "http"`},
		{"a sign", aRule("ports: ['+80']"), `policy.rules[0].ports "+80"`},
		{"a range without end", aRule("ports: ['80-']"), `policy.rules[0].ports "80-"`},
		{"a range of three", aRule("ports: ['1-2-3']"), `policy.rules[0].ports "1-2-3"`},
		{"a range from above", aRule("ports: ['81-80']"), `policy.rules[0].ports "81-80"`},
		{"a space in a range", aRule("ports: ['80 - 81']"), `policy.rules[0].ports "80 - 81"`},
		{"too many ports", aRule("ports: [" + strings.Repeat("1,", 1001) + "]"), "/policy/rules/0/ports"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			exit, helm, _ := judgePolicy(r, tt.rules)
			if exit == nil {
				t.Errorf("the exit accepts it: this case tests nothing")
			}
			if helm == nil {
				t.Errorf("helm accepts what the exit refuses: %v", exit)
			} else if !strings.Contains(helm.Error(), tt.want) {
				t.Errorf("helm does not name %s: %v", tt.want, helm)
			}
		})
	}
}

// TestHelmAcceptsWhatTheExitAccepts: helm accepts what the exit accepts, and makes the same
// policy of it.
func TestHelmAcceptsWhatTheExitAccepts(t *testing.T) {
	r := newRendererOf(t, exitChart).checksOnly()
	for _, rules := range []string{
		"[]",
		aRule("ports: [9100, '10250', 8000-8999, '080', 1-65535]"),
		aRule("names: ['*', '*.svc.cluster.local', '*.local', 'A.b_c.D', '*.1', a-b]"),
		aRule("cidrs: [0.0.0.0/0, '::/0', 10.1.2.3/32, 'FD10::/48', 127.0.0.0/8, 169.254.169.254/32, '64:ff9b::10.0.0.0/104']"),
		aRule("clients: [{commonName: 'system:serviceaccount:a b'}, {dnsName: '*.seed'}, {dnsName: A.seed}]"),
		aRule("clients: [{uri: 'spiffe://seed/ns/monitoring/*'}, {uri: 'spiffe://seed/*'}, {uri: 'urn:a:*'}, {uri: 'urn:a:b/*'}, {uri: 'spiffe://seed'}]"),
	} {
		t.Run(rules, func(t *testing.T) {
			exit, helm, installed := judgePolicy(r, rules)
			if exit != nil {
				t.Errorf("the exit refuses it: this case tests nothing: %v", exit)
			}
			if helm != nil {
				t.Errorf("helm refuses what the exit accepts: %v", helm)
			}
			if installed != nil {
				t.Errorf("helm makes something else of it, which the exit refuses: %v", installed)
			}
		})
	}
}
