// SPDX-License-Identifier: Apache-2.0

package exitpolicy_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
)

// policyOf returns a policy whose rules are written as lines of YAML.
func policyOf(rules string) string {
	return "apiVersion: config.shoot-proxy.io/v1alpha1\nkind: ExitPolicy\nrules:\n" + rules
}

// TestMistakes: each mistake is refused in one sentence that names the place.
func TestMistakes(t *testing.T) {
	const good = "- clients: [{commonName: a}]\n  cidrs: [10.0.0.0/8]\n"
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "is empty: write an ExitPolicy"},
		{"another kind", "kind: Policy\n", `has kind "Policy": write ExitPolicy`},
		{"no kind", "apiVersion: config.shoot-proxy.io/v1alpha1\nrules: []\n", "has no kind: write kind: ExitPolicy"},
		{"another version", "apiVersion: v1\nkind: ExitPolicy\nrules: []\n", `has apiVersion "v1": write config.shoot-proxy.io/v1alpha1`},
		{"no rules", "apiVersion: config.shoot-proxy.io/v1alpha1\nkind: ExitPolicy\n", "has no rules: write rules, or rules: [] if no client may reach anything"},
		{"rules without value", policyOf(""), "has in line 3 nothing for rules: write a value, or remove the field"},
		{"unknown field", policyOf(good + "  port: [80]\n"), "has in line 6 the unknown field port in section rules[0]: did you mean ports?"},
		{"another case", policyOf("- Clients: []\n"), "has in line 4 the unknown field Clients in section rules[0]: did you mean clients?"},
		{"no clients", policyOf("- cidrs: [10.0.0.0/8]\n"), "has nothing in rules[0].clients: write who may use the rule, such as [{commonName: prometheus}]"},
		{"empty clients", policyOf("- clients: []\n  cidrs: [10.0.0.0/8]\n"), "has nothing in rules[0].clients: write who may use the rule, such as [{commonName: prometheus}]"},
		{"empty selector", policyOf("- clients: [{}]\n  cidrs: [10.0.0.0/8]\n"), "has an empty selector in rules[0].clients[0]: write commonName, dnsName or uri"},
		{"selector without value", policyOf("- clients: [{commonName: }]\n  cidrs: [10.0.0.0/8]\n"), "has in line 4 nothing for rules[0].clients[0].commonName: write a value, or remove the field"},
		{"selector of nobody", policyOf("- clients: [{commonName: ''}]\n  cidrs: [10.0.0.0/8]\n"), "has an empty rules[0].clients[0].commonName: write what the client's certificate has"},
		{"two in one", policyOf("- clients: [{commonName: a, uri: 'spiffe://a/b'}]\n  cidrs: [10.0.0.0/8]\n"), "has commonName and uri in rules[0].clients[0]: write a selector for each, since one of them is enough"},
		{"pattern of common names", policyOf("- clients: [{commonName: 'a*'}]\n  cidrs: [10.0.0.0/8]\n"), `has rules[0].clients[0].commonName "a*", which is no pattern, as only dnsName and uri can be: write the whole common name`},
		{"everybody by DNS", policyOf("- clients: [{dnsName: '*'}]\n  cidrs: [10.0.0.0/8]\n"), `has rules[0].clients[0].dnsName "*", which selects everything: write a domain behind it, such as *.monitoring.seed`},
		{"star inside", policyOf("- clients: [{dnsName: 'a.*.seed'}]\n  cidrs: [10.0.0.0/8]\n"), `has rules[0].clients[0].dnsName "a.*.seed", which has * elsewhere than as its first label: write a name such as *.svc.cluster.local`},
		{"everybody by URI", policyOf("- clients: [{uri: '*'}]\n  cidrs: [10.0.0.0/8]\n"), `has rules[0].clients[0].uri "*", which is no URI with a scheme and a host: write one such as spiffe://seed/ns/monitoring/*`},
		{"star in a host", policyOf("- clients: [{uri: 'spiffe://seed*'}]\n  cidrs: [10.0.0.0/8]\n"), `has rules[0].clients[0].uri "spiffe://seed*", which has * in its host: write it behind a / such as spiffe://seed/*`},
		{"star in a segment", policyOf("- clients: [{uri: 'spiffe://seed/ns/mon*'}]\n  cidrs: [10.0.0.0/8]\n"), `has rules[0].clients[0].uri "spiffe://seed/ns/mon*", which has * behind a part of a name, which other names begin with too: write it behind a / such as spiffe://seed/ns/monitoring/* or behind a : such as urn:seed:*`},
		{"star in a part of a URN", policyOf("- clients: [{uri: 'urn:a:b*'}]\n  cidrs: [10.0.0.0/8]\n"), `has rules[0].clients[0].uri "urn:a:b*", which has * behind a part of a name, which other names begin with too: write it behind a / such as spiffe://seed/ns/monitoring/* or behind a : such as urn:seed:*`},
		{"star in a path", policyOf("- clients: [{uri: 'spiffe://seed/*/a'}]\n  cidrs: [10.0.0.0/8]\n"), `has rules[0].clients[0].uri "spiffe://seed/*/a", which has * inside: write it once, at the end`},
		{"no CIDRs", policyOf("- clients: [{commonName: a}]\n"), "has nothing in rules[0].cidrs: write the addresses that may be reached, such as [100.64.0.0/12]"},
		{"names without CIDRs", policyOf("- clients: [{commonName: a}]\n  names: [a.b]\n"), "has nothing in rules[0].cidrs: write the addresses that may be reached, such as [100.64.0.0/12]"},
		{"an address", policyOf("- clients: [{commonName: a}]\n  cidrs: [10.0.0.1]\n"), `has rules[0].cidrs[0] "10.0.0.1", which has no length: write 10.0.0.1/32`},
		{"a mapped address", policyOf("- clients: [{commonName: a}]\n  cidrs: ['::ffff:10.0.0.0/104']\n"), `has rules[0].cidrs[0] "::ffff:10.0.0.0/104", which is IPv4 written as IPv6: write 10.0.0.0/8`},
		{"bits behind", policyOf("- clients: [{commonName: a}]\n  cidrs: [10.0.0.1/8]\n"), `has rules[0].cidrs[0] "10.0.0.1/8", which has bits behind its length: write 10.0.0.0/8`},
		{"no CIDR", policyOf("- clients: [{commonName: a}]\n  cidrs: [all]\n"), `has rules[0].cidrs[0] "all", which is no CIDR: write an address and a length, such as 100.64.0.0/12 or fd00:10::/48`},
		{"CIDRs as text", policyOf("- clients: [{commonName: a}]\n  cidrs: 10.0.0.0/8\n"), `has in line 5 "10.0.0.0/8" for rules[0].cidrs: write a list, [10.0.0.0/8]`},
		{"empty names", policyOf(good + "  names: []\n"), "has nothing in rules[0].names: write names, or leave the field out if only addresses may be dialled"},
		{"an address as name", policyOf(good + "  names: [10.0.0.1]\n"), `has rules[0].names[0] "10.0.0.1", which is no DNS name: write one such as prometheus.monitoring.svc.cluster.local or *.svc.cluster.local`},
		{"a dot behind", policyOf(good + "  names: [a.b.]\n"), `has rules[0].names[0] "a.b.", which ends with a dot: leave the dot out`},
		{"empty ports", policyOf(good + "  ports: []\n"), "has nothing in rules[0].ports: write ports, or leave the field out for all ports"},
		{"ports without value", policyOf(good + "  ports:\n"), "has in line 6 nothing for rules[0].ports: write a value, or remove the field"},
		{"port 0", policyOf(good + "  ports: [0]\n"), `has rules[0].ports[0] "0", which is no port: write a number from 1 to 65535, or a range such as 8000-8999`},
		{"a range backwards", policyOf(good + "  ports: [90-80]\n"), `has rules[0].ports[0] "90-80", which is backwards: write 80-90`},
		{"a port by name", policyOf(good + "  ports: [http]\n"), `has rules[0].ports[0] "http", which is no port: write a number from 1 to 65535, or a range such as 8000-8999`},
		{"the second rule", policyOf(good + "- clients: [{commonName: a}]\n  cidrs: [x]\n"), `has rules[1].cidrs[0] "x", which is no CIDR: write an address and a length, such as 100.64.0.0/12 or fd00:10::/48`},
		{"JSON without value", `{"apiVersion": "config.shoot-proxy.io/v1alpha1", "kind": "ExitPolicy", "rules": [{"clients": [{"commonName": "a"}], "cidrs": ["10.0.0.0/8"], "ports": null}]}`, "has in line 1 nothing for rules[0].ports: write a value, or remove the field"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := exitpolicy.Parse([]byte(tt.text))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// issuePolicy is the policy of the issue that asked for it.
const issuePolicy = `apiVersion: config.shoot-proxy.io/v1alpha1
kind: ExitPolicy
rules: # a client may do what any rule says
- clients: [{commonName: prometheus}, {dnsName: "*.monitoring.seed"}, {uri: "spiffe://seed/ns/monitoring/*"}]
  cidrs: [100.64.0.0/12, 10.250.0.0/16]
  names: ["*.svc.cluster.local"] # what they resolve to must lie in cidrs
  ports: ["9100", "10250", "8000-8999"] # left out: all
- clients: [{commonName: admin}]
  cidrs: [0.0.0.0/0, "::/0", 127.0.0.1/32, 169.254.0.0/16]
- clients: [{commonName: cloud}]
  cidrs: [169.254.169.254/32, 169.254.0.0/16]
`

func parse(t testing.TB, text string) *exitpolicy.Policy {
	t.Helper()
	p, err := exitpolicy.Parse([]byte(text))
	if err != nil {
		t.Fatalf("the policy %v", err)
	}
	return p
}

// TestClients: each part of an identity is matched by its own kind of selector.
func TestClients(t *testing.T) {
	p := parse(t, issuePolicy)
	for _, tt := range []struct {
		name string
		id   exitpolicy.Identity
		want bool
	}{
		{"nobody", exitpolicy.Identity{}, false},
		{"common name", exitpolicy.Identity{CommonName: "prometheus"}, true},
		{"common name in another case", exitpolicy.Identity{CommonName: "Prometheus"}, false},
		{"common name as DNS name", exitpolicy.Identity{DNSNames: []string{"prometheus"}}, false},
		{"DNS name", exitpolicy.Identity{DNSNames: []string{"other", "a.monitoring.seed"}}, true},
		{"the domain itself", exitpolicy.Identity{DNSNames: []string{"monitoring.seed", ".monitoring.seed"}}, false},
		{"two labels", exitpolicy.Identity{DNSNames: []string{"a.b.monitoring.seed"}}, false},
		{"the domain inside", exitpolicy.Identity{DNSNames: []string{"a.monitoring.seed.evil.org", "monitoring.seed.org", "xmonitoring.seed"}}, false},
		{"URI", exitpolicy.Identity{URIs: []string{"spiffe://seed/ns/monitoring/sa/a"}}, true},
		{"URI of the folder", exitpolicy.Identity{URIs: []string{"spiffe://seed/ns/monitoring/", "spiffe://seed/ns/monitoring"}}, false},
		{"URI of another host", exitpolicy.Identity{URIs: []string{"spiffe://seed.evil.org/ns/monitoring/a"}}, false},
		{"URI with dots", exitpolicy.Identity{URIs: []string{"spiffe://seed/ns/monitoring/../kube-system/a", "spiffe://seed/ns/monitoring/.."}}, false},
		{"URI with escapes", exitpolicy.Identity{URIs: []string{"spiffe://seed/ns/monitoring/%2e%2e/a"}}, false},
		{"URI with a query", exitpolicy.Identity{URIs: []string{"spiffe://seed/ns/monitoring/a?b"}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.For(tt.id) != nil; got != tt.want {
				t.Errorf("the rule selects the client: %t, want %t", got, tt.want)
			}
		})
	}
}

// TestIdentityOf: a pattern in a certificate is no client's name.
func TestIdentityOf(t *testing.T) {
	uri, _ := url.Parse("spiffe://seed/a")
	id := exitpolicy.IdentityOf(&x509.Certificate{Subject: pkix.Name{CommonName: "cn"}, DNSNames: []string{"*.monitoring.seed", "A.Monitoring.Seed."}, URIs: []*url.URL{uri}})
	if len(id.DNSNames) != 1 || id.DNSNames[0] != "a.monitoring.seed" || id.CommonName != "cn" || id.URIs[0] != "spiffe://seed/a" || id.String() != "spiffe://seed/a" {
		t.Errorf("got %+v", id)
	}
}

// TestDestinations: what is not allowed is not, and each refusal has its reason.
func TestDestinations(t *testing.T) {
	p := parse(t, issuePolicy)
	for _, tt := range []struct {
		client, name, at string
		want             error
	}{
		{"stranger", "", "100.64.1.1:9100", exitpolicy.ErrClient},
		{"prometheus", "", "100.64.1.1:9100", nil},
		{"prometheus", "", "10.250.3.4:8500", nil},
		{"prometheus", "", "[::ffff:100.64.1.1]:9100", nil},
		{"prometheus", "", "100.64.1.1:22", exitpolicy.ErrPort},
		{"prometheus", "", "100.128.1.1:9100", exitpolicy.ErrAddress},
		{"prometheus", "", "[::ffff:8.8.8.8]:9100", exitpolicy.ErrAddress},
		{"prometheus", "", "[fd00::1]:9100", exitpolicy.ErrAddress},
		{"prometheus", "a.b.svc.cluster.local", "100.64.1.1:9100", nil},
		{"prometheus", "svc.cluster.local", "100.64.1.1:9100", exitpolicy.ErrName},
		{"prometheus", "a.svc.cluster.local.evil.org", "100.64.1.1:9100", exitpolicy.ErrName},
		{"prometheus", "xsvc.cluster.local", "100.64.1.1:9100", exitpolicy.ErrName},
		{"prometheus", "a.svc.cluster.local", "100.64.1.1:80", exitpolicy.ErrPort},
		{"prometheus", "a.svc.cluster.local", "8.8.8.8:9100", exitpolicy.ErrAddress},
		{"prometheus", "a.svc.cluster.local", "127.0.0.1:9100", exitpolicy.ErrAddress},
		{"admin", "a.svc.cluster.local", "100.64.1.1:9100", exitpolicy.ErrName},
		{"admin", "", "8.8.8.8:53", nil},
		{"admin", "", "127.0.0.1:80", nil},
		{"admin", "", "127.0.0.2:80", exitpolicy.ErrSpecial},
		{"admin", "", "[::1]:80", exitpolicy.ErrSpecial},
		{"admin", "", "[::]:80", exitpolicy.ErrSpecial},
		{"admin", "", "0.0.0.0:80", exitpolicy.ErrSpecial},
		{"admin", "", "0.1.2.3:80", exitpolicy.ErrSpecial},
		{"admin", "", "[::ffff:127.0.0.2]:80", exitpolicy.ErrSpecial},
		{"admin", "", "[::127.0.0.2]:80", exitpolicy.ErrSpecial},
		{"admin", "", "224.0.0.1:80", exitpolicy.ErrSpecial},
		{"admin", "", "255.255.255.255:80", exitpolicy.ErrSpecial},
		{"admin", "", "[ff02::1]:80", exitpolicy.ErrSpecial},
		{"admin", "", "[fe80::1]:80", exitpolicy.ErrSpecial},
		{"admin", "", "169.254.1.1:80", nil},
		{"admin", "", "169.254.169.254:80", exitpolicy.ErrSpecial},
		{"admin", "", "100.100.100.200:80", exitpolicy.ErrSpecial},
		{"admin", "", "168.63.129.16:80", exitpolicy.ErrSpecial},
		{"admin", "", "[fd00:ec2::254]:80", exitpolicy.ErrSpecial},
		{"admin", "", "[64:ff9b::127.0.0.2]:80", exitpolicy.ErrSpecial},
		{"admin", "", "[64:ff9b::169.254.169.254]:80", exitpolicy.ErrSpecial},
		{"admin", "", "[64:ff9b::8.8.8.8]:80", nil},
		{"cloud", "", "169.254.169.254:80", nil},
		{"cloud", "", "169.254.170.2:80", exitpolicy.ErrSpecial},
	} {
		t.Run(tt.client+" "+tt.name+" "+tt.at, func(t *testing.T) {
			grant, at := p.For(exitpolicy.Identity{CommonName: tt.client}), netip.MustParseAddrPort(tt.at)
			var err error
			if tt.name != "" {
				err = grant.CheckName(tt.name, at.Port())
			}
			if err == nil {
				err = grant.CheckAddress(tt.name, at)
			}
			if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestOwnAddress: an address of the exit itself needs a CIDR of one address.
func TestOwnAddress(t *testing.T) {
	p := parse(t, policyOf("- clients: [{commonName: a}]\n  cidrs: [10.0.0.0/8]\n- clients: [{commonName: b}]\n  cidrs: [10.0.0.1/32]\n"))
	at := netip.MustParseAddrPort("10.0.0.1:9443")
	if err := p.For(exitpolicy.Identity{CommonName: "a"}).CheckOwn("", at); !errors.Is(err, exitpolicy.ErrSpecial) {
		t.Errorf("a range names it: %v", err)
	}
	if err := p.For(exitpolicy.Identity{CommonName: "b"}).CheckOwn("", at); err != nil {
		t.Errorf("its own CIDR does not name it: %v", err)
	}
}

// TestNameAndAddressInOneRule: the name of one rule does not open the addresses of another.
func TestNameAndAddressInOneRule(t *testing.T) {
	p := parse(t, policyOf("- clients: [{commonName: a}]\n  cidrs: [10.0.0.0/8]\n  names: [x.test]\n- clients: [{commonName: a}]\n  cidrs: [192.168.0.0/16]\n"))
	grant := p.For(exitpolicy.Identity{CommonName: "a"})
	at := netip.MustParseAddrPort("192.168.0.1:80")
	if err := grant.CheckAddress("", at); err != nil {
		t.Error(err)
	}
	if err := grant.CheckAddress("x.test", at); !errors.Is(err, exitpolicy.ErrAddress) {
		t.Errorf("got %v, want %v", err, exitpolicy.ErrAddress)
	}
}

// strangerName is a name that no policy has.
const strangerName = "5f3b8a4fd2dfb3bd8d1de0a9c7dcbbb1"

// FuzzParse: no file makes the parser fail in another way than with a sentence, and no
// policy allows a client that it does not name.
func FuzzParse(f *testing.F) {
	f.Add([]byte(issuePolicy))
	f.Add([]byte(policyOf("- &a {clients: [{dnsName: '*.b'}], cidrs: ['::/0'], ports: [1-65535]}\n- *a\n")))
	f.Add([]byte(`{"rules": [{"clients": [{"uri": "a:b"}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := exitpolicy.Parse(data)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" || strings.Contains(err.Error(), "\n") {
				t.Errorf("not one sentence: %q", err)
			}
			return
		}
		if p.For(exitpolicy.Identity{}) != nil {
			t.Error("a client without identity is selected")
		}
		stranger := exitpolicy.Identity{CommonName: strangerName, DNSNames: []string{strangerName}, URIs: []string{strangerName}}
		if p.For(stranger).CheckAddress("", netip.MustParseAddrPort("127.0.0.1:80")) == nil {
			t.Error("a stranger reaches loopback")
		}
	})
}
