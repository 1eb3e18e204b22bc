// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// configHeader is how every InjectionConfig begins.
const configHeader = "apiVersion: config.shoot-proxy.io/v1alpha1\nkind: InjectionConfig\n"

// verdicts are the errors about an InjectionConfig: nil if it is valid.
type verdicts struct {
	// webhook is the webhook's verdict on the text itself. helm is the verdict of schema
	// and templates. installed is the webhook's verdict on what helm makes of the text.
	webhook, helm, installed error
}

// judge returns the verdicts on an InjectionConfig. text is all of it but the header.
func (r renderer) judge(text string) (v verdicts) {
	_, v.webhook = webhook.ParseConfig("the configuration", []byte(configHeader+text))
	rendered, err := r.render("config:\n  " + strings.ReplaceAll(text, "\n", "\n  ") + "\n")
	if v.helm = err; err != nil {
		return v
	}
	var object struct{ Data map[string]string }
	if v.installed = yaml.Unmarshal([]byte(rendered["proxy-client/templates/configmap.yaml"]), &object); v.installed == nil {
		_, v.installed = webhook.ParseConfig("the ConfigMap", []byte(object.Data[webhook.ConfigKey]))
	}
	return v
}

// advised matches the CIDR that a refusal advises to write.
var advised = regexp.MustCompile(`: write ([0-9a-f.:]+/[0-9]+)$`)

// TestHelmRefusesWhatTheWebhookRefuses: if the webhook refuses to start with a value,
// helm refuses it before anything is installed, and names it. Each is a mistake of its
// own in the webhook's validation: webhook/config.go, webhook/validate.go,
// internal/options, internal/cidr.
//
// Helm cannot refuse what values cannot be. This is a file that is empty, no YAML, or of
// two documents. It is also a field that occurs twice, of which Helm takes the last one.
// If a field is a text and its value is a number or a switch, Helm alone refuses: see
// needsQuotes.
func TestHelmRefusesWhatTheWebhookRefuses(t *testing.T) {
	r := newRenderer(t).checksOnly()
	for _, tc := range []struct{ name, text, want string }{
		{"another kind", "kind: Config", "/config/kind"},
		{"another version", "apiVersion: v1", "/config/apiVersion"},
		{"unknown section", "shoots: {}", "shoots"},
		{"unknown field", "shoot: {podCIDR: [100.64.0.0/12]}", "podCIDR"},
		{"another case", "shoot: {podcidrs: [100.64.0.0/12]}", "podcidrs"},
		{"a map for a list", "shoot: {podCIDRs: {a: b}}", "/config/shoot/podCIDRs"},
		{"a text for a list", "shoot: {podCIDRs: 100.64.0.0/12}", "/config/shoot/podCIDRs"},
		{"a list for a text", "proxyServer: {mode: [grpc]}", "/config/proxyServer/mode"},
		{"a text for a switch", "policy: {gardener: yes please}", "/config/policy/gardener"},
		{"empty pod CIDRs", "shoot: {podCIDRs: []}", "/config/shoot/podCIDRs"},
		{"empty service CIDRs", "shoot: {serviceCIDRs: []}", "/config/shoot/serviceCIDRs"},
		{"empty node CIDRs", "shoot: {nodeCIDRs: []}", "/config/shoot/nodeCIDRs"},
		{"empty exclusions", "excludeCIDRs: []", "/config/excludeCIDRs"},
		{"empty ports", "excludePorts: []", "/config/excludePorts"},
		{"empty addresses", "proxyServer: {addresses: []}", "/config/proxyServer/addresses"},

		{"no CIDR", "shoot: {podCIDRs: [nowhere]}", `config.shoot.podCIDRs "nowhere"`},
		{"empty element", `shoot: {podCIDRs: [""]}`, `config.shoot.podCIDRs ""`},
		{"two in one", `shoot: {podCIDRs: ["10.1.0.0/16,10.2.0.0/16"]}`, `config.shoot.podCIDRs "10.1.0.0/16,10.2.0.0/16"`},
		{"an address", "shoot: {podCIDRs: [100.64.0.1]}", `config.shoot.podCIDRs "100.64.0.1"`},
		{"an IPv6 address", `shoot: {podCIDRs: ["fd00::1"]}`, `config.shoot.podCIDRs "fd00::1"`},
		{"length 33", "shoot: {podCIDRs: [100.64.0.0/33]}", `config.shoot.podCIDRs "100.64.0.0/33"`},
		{"length 129", `shoot: {podCIDRs: ["fd00::/129"]}`, `config.shoot.podCIDRs "fd00::/129"`},
		{"length with a zero", "shoot: {podCIDRs: [100.64.0.0/012]}", `config.shoot.podCIDRs "100.64.0.0/012"`},
		{"length with a sign", "shoot: {podCIDRs: [100.64.0.0/+12]}", `config.shoot.podCIDRs "100.64.0.0/+12"`},
		{"no length", "shoot: {podCIDRs: [100.64.0.0/]}", `config.shoot.podCIDRs "100.64.0.0/"`},
		{"a mask", "shoot: {podCIDRs: [100.64.0.0/255.240.0.0]}", `config.shoot.podCIDRs "100.64.0.0/255.240.0.0"`},
		{"octet 256", "shoot: {podCIDRs: [100.256.0.0/16]}", `config.shoot.podCIDRs "100.256.0.0/16"`},
		{"octet with a zero", "shoot: {podCIDRs: [100.064.0.0/16]}", `config.shoot.podCIDRs "100.064.0.0/16"`},
		{"three octets", "shoot: {podCIDRs: [100.64.0/16]}", `config.shoot.podCIDRs "100.64.0/16"`},
		{"five octets", "shoot: {podCIDRs: [100.64.0.0.0/16]}", `config.shoot.podCIDRs "100.64.0.0.0/16"`},
		{"host bits", "shoot: {podCIDRs: [100.64.0.1/12]}", `config.shoot.podCIDRs "100.64.0.1/12"`},
		{"host bits of services", "shoot: {serviceCIDRs: [100.64.0.1/12]}", `config.shoot.serviceCIDRs "100.64.0.1/12"`},
		{"host bits of nodes", "shoot: {nodeCIDRs: [10.250.1.0/16]}", `config.shoot.nodeCIDRs "10.250.1.0/16"`},
		{"host bits of an exclusion", "shoot: {podCIDRs: [10.0.0.0/8]}\nexcludeCIDRs: [10.9.9.9/24]", `config.excludeCIDRs "10.9.9.9/24"`},
		{"IPv6 host bits", `shoot: {podCIDRs: ["fd10:64::1/48"]}`, `config.shoot.podCIDRs "fd10:64::1/48"`},
		{"IPv6 group of five", `shoot: {podCIDRs: ["fd10:00064::/48"]}`, `config.shoot.podCIDRs "fd10:00064::/48"`},
		{"IPv6 nine groups", `shoot: {podCIDRs: ["1:2:3:4:5:6:7:8:9/48"]}`, `config.shoot.podCIDRs "1:2:3:4:5:6:7:8:9/48"`},
		{"IPv6 seven groups", `shoot: {podCIDRs: ["1:2:3:4:5:6:7/48"]}`, `config.shoot.podCIDRs "1:2:3:4:5:6:7/48"`},
		{"IPv6 two gaps", `shoot: {podCIDRs: ["fd00::1::/48"]}`, `config.shoot.podCIDRs "fd00::1::/48"`},
		{"IPv6 a gap of nothing", `shoot: {podCIDRs: ["1:2:3:4::5:6:7:8/128"]}`, `config.shoot.podCIDRs "1:2:3:4::5:6:7:8/128"`},
		{"IPv6 with a zone", `shoot: {podCIDRs: ["fe80::%eth0/64"]}`, `config.shoot.podCIDRs "fe80::%eth0/64"`},
		{"IPv4 written as IPv6", `shoot: {podCIDRs: ["::ffff:10.0.0.0/104"]}`, `config.shoot.podCIDRs "::ffff:10.0.0.0/104"`},
		{"IPv4 written as IPv6, excluded", `shoot: {podCIDRs: [10.0.0.0/8]}` + "\n" + `excludeCIDRs: ["::ffff:10.0.0.0/104"]`, `config.excludeCIDRs "::ffff:10.0.0.0/104"`},
		{"host bits, and too short without them", "shoot: {podCIDRs: [10.0.0.0/4]}", `config.shoot.podCIDRs "10.0.0.0/4"`},
		{"host bits in loopback", "shoot: {podCIDRs: [127.0.0.1/8]}", `config.shoot.podCIDRs "127.0.0.1/8"`},
		{"an address of loopback", `shoot: {podCIDRs: ["::1"]}`, `config.shoot.podCIDRs "::1"`},
		{"the default route", "shoot: {podCIDRs: [0.0.0.0/0]}", `config.shoot.podCIDRs "0.0.0.0/0"`},
		{"too short", "shoot: {podCIDRs: [100.0.0.0/7]}", `config.shoot.podCIDRs "100.0.0.0/7"`},
		{"IPv6 too short", `shoot: {podCIDRs: ["fd00::/15"]}`, `config.shoot.podCIDRs "fd00::/15"`},
		{"too short in parts", "shoot: {podCIDRs: [100.0.0.0/8], nodeCIDRs: [101.0.0.0/8]}", "100.0.0.0/7"},
		{"too short in parts of parts", "shoot: {podCIDRs: [101.0.0.0/8, 100.0.0.0/9], nodeCIDRs: [100.128.0.0/10, 100.192.0.0/10]}", "100.0.0.0/7"},
		{"loopback", "shoot: {podCIDRs: [127.0.0.0/16]}", `config.shoot.podCIDRs "127.0.0.0/16"`},
		{"link-local", "shoot: {nodeCIDRs: [169.254.0.0/16]}", `config.shoot.nodeCIDRs "169.254.0.0/16"`},
		{"multicast", "shoot: {nodeCIDRs: [224.1.0.0/16]}", `config.shoot.nodeCIDRs "224.1.0.0/16"`},
		{"unspecified", "shoot: {nodeCIDRs: [0.0.0.0/8]}", `config.shoot.nodeCIDRs "0.0.0.0/8"`},
		{"broadcast", "shoot: {nodeCIDRs: [255.255.255.255/32]}", `config.shoot.nodeCIDRs "255.255.255.255/32"`},
		{"IPv6 loopback", `shoot: {nodeCIDRs: ["::1/128"]}`, `config.shoot.nodeCIDRs "::1/128"`},
		{"IPv6 link-local", `shoot: {nodeCIDRs: ["fe80::/64"]}`, `config.shoot.nodeCIDRs "fe80::/64"`},
		{"IPv6 multicast", `shoot: {nodeCIDRs: ["ff02::/64"]}`, `config.shoot.nodeCIDRs "ff02::/64"`},
		{"IPv6 unspecified", `shoot: {nodeCIDRs: ["::/128"]}`, `config.shoot.nodeCIDRs "::/128"`},
		{"all is excluded", "shoot: {podCIDRs: [10.1.0.0/16]}\nexcludeCIDRs: [10.0.0.0/8]", `config.excludeCIDRs "10.0.0.0/8"`},
		{"all is excluded in parts", "shoot: {podCIDRs: [10.1.0.0/16], nodeCIDRs: [10.2.0.0/24]}\nexcludeCIDRs: [10.1.0.0/17, 10.1.128.0/17, 10.2.0.0/16]", "10.1.0.0/17,10.1.128.0/17,10.2.0.0/16"},
		{"exclusion is no CIDR", "excludeCIDRs: [nowhere]", `config.excludeCIDRs "nowhere"`},

		{"port 0", "excludePorts: [0]", `config.excludePorts "0"`},
		{"port 65536", "excludePorts: [22, 65536]", `config.excludePorts "65536"`},
		{"negative port", "excludePorts: [-1]", `config.excludePorts "-1"`},
		{"port by name", "excludePorts: [ssh]", `config.excludePorts "ssh"`},
		{"half a port", "excludePorts: [22.5]", "/config/excludePorts/0"},
		{"empty port", `excludePorts: [""]`, `config.excludePorts ""`},
		{"two ports in one", `excludePorts: ["22,23"]`, `config.excludePorts "22,23"`},
		{"a range backwards", "excludePorts: [200-100]", `config.excludePorts "200-100"`},
		{"half a range", "excludePorts: [100-]", `config.excludePorts "100-"`},
		{"two ranges in one", "excludePorts: [1-2-3]", `config.excludePorts "1-2-3"`},
		{"a range of more than ports", "excludePorts: [100-65536]", `config.excludePorts "100-65536"`},
		{"our own port in a range", "excludePorts: [14000-14002]", `config.excludePorts "14000-14002"`},
		{"our own port", "excludePorts: [14001]", `config.excludePorts "14001"`},

		{"no port of the server", "proxyServer: {addresses: [vpn-proxy-server]}", `config.proxyServer.addresses "vpn-proxy-server"`},
		{"empty address", `proxyServer: {addresses: [""]}`, `config.proxyServer.addresses ""`},
		{"server's port 0", `proxyServer: {addresses: ["vpn:0"]}`, `config.proxyServer.addresses "vpn:0"`},
		{"server's port 65536", `proxyServer: {addresses: ["vpn:65536"]}`, `config.proxyServer.addresses "vpn:65536"`},
		{"server's port by name", `proxyServer: {addresses: ["vpn:https"]}`, `config.proxyServer.addresses "vpn:https"`},
		{"no host", `proxyServer: {addresses: [":8090"]}`, `config.proxyServer.addresses ":8090"`},
		{"a URL", `proxyServer: {addresses: ["https://vpn:8090"]}`, `config.proxyServer.addresses "https://vpn:8090"`},
		{"a path", `proxyServer: {addresses: ["/run/x.sock"]}`, `config.proxyServer.addresses "/run/x.sock"`},
		{"a Unix socket", `proxyServer: {addresses: ["unix:///run/x.sock"]}`, `config.proxyServer.addresses "unix:///run/x.sock"`},
		{"IPv6 without brackets", `proxyServer: {addresses: ["fd00::1:8090"]}`, `config.proxyServer.addresses "fd00::1:8090"`},
		{"brackets around a name", `proxyServer: {addresses: ["[vpn]:8090"]}`, `config.proxyServer.addresses "[vpn]:8090"`},
		{"brackets around IPv4", `proxyServer: {addresses: ["[10.0.0.1]:8090"]}`, `config.proxyServer.addresses "[10.0.0.1]:8090"`},
		{"unspecified address", `proxyServer: {addresses: ["0.0.0.0:8090"]}`, `config.proxyServer.addresses "0.0.0.0:8090"`},
		{"IPv6 unspecified address", `proxyServer: {addresses: ["[::]:8090"]}`, `config.proxyServer.addresses "[::]:8090"`},
		{"multicast address", `proxyServer: {addresses: ["224.0.0.1:8090"]}`, `config.proxyServer.addresses "224.0.0.1:8090"`},
		{"IPv6 multicast address", `proxyServer: {addresses: ["[ff02::1]:8090"]}`, `config.proxyServer.addresses "[ff02::1]:8090"`},
		{"a mistyped address", `proxyServer: {addresses: ["10.0.0.256:8090"]}`, `config.proxyServer.addresses "10.0.0.256:8090"`},
		{"a name with a space", `proxyServer: {addresses: ["v pn:8090"]}`, `config.proxyServer.addresses "v pn:8090"`},
		{"a name that begins with -", `proxyServer: {addresses: ["-vpn:8090"]}`, `config.proxyServer.addresses "-vpn:8090"`},
		{"a name with two dots", `proxyServer: {addresses: ["vpn..svc:8090"]}`, `config.proxyServer.addresses "vpn..svc:8090"`},
		{"a label of 64", `proxyServer: {addresses: ["` + strings.Repeat("a", 64) + `:8090"]}`, strings.Repeat("a", 64)},
		{"a name of 254", `proxyServer: {addresses: ["` + strings.Repeat("a.", 126) + `aa:8090"]}`, strings.Repeat("a.", 126)},
		{"the same server", `proxyServer: {addresses: ["vpn:8090", "vpn:8090"]}`, `config.proxyServer.addresses "vpn:8090"`},
		{"the same server in capitals", `proxyServer: {addresses: ["vpn:8090", "VPN:8090"]}`, `config.proxyServer.addresses "VPN:8090"`},
		{"the same IPv6 server", `proxyServer: {addresses: ["[fd00::1]:8090", "[fd00:0::1]:8090"]}`, `config.proxyServer.addresses "[fd00:0::1]:8090"`},
		{"a server in the shoot", "shoot: {podCIDRs: [100.64.0.0/12]}\nproxyServer: {addresses: ['100.64.0.1:8090']}", `config.proxyServer.addresses "100.64.0.1:8090"`},
		{"an IPv6 server in the shoot", `shoot: {podCIDRs: ["fd00::/16"]}` + "\n" + `proxyServer: {addresses: ["[fd00::1]:8090"]}`, `config.proxyServer.addresses "[fd00::1]:8090"`},
		{"mode", "proxyServer: {mode: socks5}", "/config/proxyServer/mode"},
		{"server name", "proxyServer: {serverName: 'a b'}", `config.proxyServer.serverName "a b"`},
		{"server name with a port", "proxyServer: {serverName: 'a:8090'}", `config.proxyServer.serverName "a:8090"`},
		{"server name of zeros", "proxyServer: {serverName: 0.0.0.0}", `config.proxyServer.serverName "0.0.0.0"`},
		{"CA ConfigMap", "proxyServer: {tls: {caConfigMap: CA}}", "/config/proxyServer/tls/caConfigMap"},
		{"two CAs", "proxyServer: {tls: {caConfigMap: a, caSecret: b}}", `config.proxyServer.tls.caConfigMap "a"`},
		{"CA Secret", "proxyServer: {tls: {caSecret: CA}}", "/config/proxyServer/tls/caSecret"},
		{"exit without port", "exit: {addresses: [exit]}", `config.exit.addresses "exit"`},
		{"exit without host", "exit: {addresses: [':1']}", `config.exit.addresses ":1"`},
		{"exit that is a URL", "exit: {addresses: ['https://exit:1']}", `config.exit.addresses "https://exit:1"`},
		{"exit on a Unix socket", "exit: {addresses: ['unix:///x']}", `config.exit.addresses "unix:///x"`},
		{"exit on every address", "exit: {addresses: ['0.0.0.0:1']}", `config.exit.addresses "0.0.0.0:1"`},
		{"exit with a bad host", "exit: {addresses: ['a b:1']}", `config.exit.addresses "a b:1"`},
		{"exit twice", "exit: {addresses: ['[::ffff:10.0.0.1]:1', '10.0.0.1:01']}", `config.exit.addresses "10.0.0.1:01"`},
		{"no exits", "exit: {addresses: []}", "/config/exit/addresses"},
		{"an empty exit", "exit: {addresses: ['']}", `config.exit.addresses ""`},
		{"too many exits", "exit: {addresses: ['a:1','a:2','a:3','a:4','a:5','a:6','a:7','a:8','a:9','a:10','a:11','a:12','a:13','a:14','a:15','a:16','a:17']}", "/config/exit/addresses"},
		{"policy of an exit", "exit: {policy: always}", "/config/exit/policy"},
		{"name of an exit", "exit: {serverName: 'a b'}", `config.exit.serverName "a b"`},
		{"two CAs of an exit", "exit: {tls: {caConfigMap: a, caSecret: b}}", `config.exit.tls.caConfigMap "a"`},
		{"CA Secret of an exit", "exit: {tls: {caSecret: CA}}", "/config/exit/tls/caSecret"},
		{"key of an exit", "exit: {tls: {caKey: ..}}", "/config/exit/tls/caKey"},
		{"unknown field of an exit", "exit: {address: 'a:1'}", "address"},
		{"client's Secret", "proxyServer: {tls: {clientSecret: a_b}}", "/config/proxyServer/tls/clientSecret"},
		{"CA key", "proxyServer: {tls: {caKey: a/b}}", "/config/proxyServer/tls/caKey"},
		{"CA key of dots", "proxyServer: {tls: {caKey: ..}}", "/config/proxyServer/tls/caKey"},
		{"CA key that begins with dots", "proxyServer: {tls: {caKey: ..data}}", "/config/proxyServer/tls/caKey"},
		{"native sidecar", "nativeSidecar: maybe", "/config/nativeSidecar"},

		{"no size", "sidecar: {totalBuffer: much}", `config.sidecar.totalBuffer "much"`},
		{"a size of Kubernetes'", "sidecar: {totalBuffer: 128M}", `config.sidecar.totalBuffer "128M"`},
		{"half a size", "sidecar: {totalBuffer: 1.5GiB}", `config.sidecar.totalBuffer "1.5GiB"`},
		{"a size with a sign", "sidecar: {totalBuffer: +128MiB}", `config.sidecar.totalBuffer "+128MiB"`},
		{"a negative size", "sidecar: {totalBuffer: -128MiB}", `config.sidecar.totalBuffer "-128MiB"`},
		{"a size beyond all", "sidecar: {totalBuffer: 99999999999GiB}", `config.sidecar.totalBuffer "99999999999GiB"`},
		{"less than a connection's buffer", "sidecar: {totalBuffer: 15MiB}", `config.sidecar.totalBuffer "15MiB"`},
		{"no unit", "sidecar: {totalBuffer: '128'}", `config.sidecar.totalBuffer "128"`},
		{"iptables", "redirect: {iptables: ebtables}", "/config/redirect/iptables"},
		{"connection's buffer", "sidecar: {connectionBuffer: 255KiB}", `config.sidecar.connectionBuffer "255KiB"`},
		{"less than another connection's buffer", "sidecar: {connectionBuffer: 300MiB}", `config.sidecar.totalBuffer "256MiB"`},
		{"no duration", "sidecar: {dialTimeout: 5}", `config.sidecar.dialTimeout "5"`},
		{"a duration of days", "sidecar: {idleTimeout: 1d}", `config.sidecar.idleTimeout "1d"`},
		{"no time at all", "sidecar: {halfCloseTimeout: 0s}", `config.sidecar.halfCloseTimeout "0s"`},
		{"negative time", "sidecar: {drainTimeout: -1m}", `config.sidecar.drainTimeout "-1m"`},
		{"half a second", "sidecar: {idleTimeout: 500ms}", `config.sidecar.idleTimeout "500ms"`},
		{"keepalive of half a second more", "sidecar: {serverKeepalive: 1.5s}", `config.sidecar.serverKeepalive "1.5s"`},
		{"keepalive of more than an hour", "sidecar: {serverKeepalive: 1h1s}", `config.sidecar.serverKeepalive "1h1s"`},
		{"no connections", "sidecar: {maxConnections: 0}", `config.sidecar.maxConnections "0"`},
		{"too many dials", "sidecar: {maxDials: 1000001}", `config.sidecar.maxDials "1000001"`},
		{"health port", "sidecar: {healthPort: 65536}", `config.sidecar.healthPort "65536"`},
		{"proxy port", "redirect: {proxyPort: 0}", `config.redirect.proxyPort "0"`},
		{"one port for two", "redirect: {proxyPort: 14021}", `config.sidecar.healthPort "14021"`},
		{"the status page's port for health", "sidecar: {healthPort: 14000}", `config.sidecar.healthPort "14000" is the port of the status page`},
		{"the status page's port for the proxy", "redirect: {proxyPort: '14000'}", `config.redirect.proxyPort "14000" is the port of the status page`},
		{"excluded port of the proxy", "redirect: {proxyPort: 2222}\nexcludePorts: [2222]", `config.excludePorts "2222"`},
		{"root's uid", "redirect: {proxyUID: 0}", `config.redirect.proxyUID "0"`},
		{"Istio's uid", "redirect: {proxyUID: 1337}", `config.redirect.proxyUID "1337"`},
		{"a uid beyond kube-apiserver's", "redirect: {proxyUID: 2147483648}", `config.redirect.proxyUID "2147483648"`},
		{"a uid beyond all", "redirect: {proxyUID: 4294967295}", `config.redirect.proxyUID "4294967295"`},
		{"excluded uid", "excludeUIDs: [app]", `config.excludeUIDs "app"`},
		{"excluded uid beyond all", "excludeUIDs: [4294967295]", `config.excludeUIDs "4294967295"`},
		{"empty uids", "excludeUIDs: []", "/config/excludeUIDs"},
		{"a protocol twice", "proxyServer: {alpnProtocols: [a, ' a']}", `config.proxyServer.alpnProtocols " a"`},
		{"empty protocol", "proxyServer: {alpnProtocols: ['']}", `config.proxyServer.alpnProtocols ""`},
		{"request above limit", "redirect: {resources: {requests: {cpu: 2}, limits: {cpu: 1500m}}}", `config.redirect.resources.requests.cpu "2"`},
		{"request above init-redirect's limit", "redirect: {resources: {requests: {memory: 65Mi}}}", `config.redirect.resources.requests.memory "65Mi"`},
		{"request above proxy-client's limit", "sidecar: {resources: {requests: {memory: 513Mi}}}", `config.sidecar.resources.requests.memory "513Mi"`},
		{"our label", "pod: {labels: {shoot-proxy.io/inject: 'false'}}", "shoot-proxy.io/inject"},
		{"name of a label", "pod: {labels: {'a b': c}}", "a b"},
		{"value of a label", "pod: {labels: {a: 'b c'}}", "/config/pod/labels/a"},
		{"pull secret", "pod: {imagePullSecrets: [A]}", "/config/pod/imagePullSecrets"},
		{"log format", "sidecar: {logFormat: xml}", "/config/sidecar/logFormat"},
		{"log level", "sidecar: {logLevel: loud}", "/config/sidecar/logLevel"},
		{"pull policy", "sidecar: {imagePullPolicy: Sometimes}", "/config/sidecar/imagePullPolicy"},
		{"readiness probe", "sidecar: {readinessProbe: maybe}", "/config/sidecar/readinessProbe"},
		{"another resource", "sidecar: {resources: {limits: {gpu: 1}}}", "gpu"},
		{"no amount", "sidecar: {resources: {limits: {memory: much}}}", `config.sidecar.resources.limits.memory "much"`},
		{"an amount with B", "sidecar: {resources: {limits: {memory: 512MiB}}}", `config.sidecar.resources.limits.memory "512MiB"`},
		{"an amount of nothing", "sidecar: {resources: {requests: {cpu: 0}}}", `config.sidecar.resources.requests.cpu "0"`},
		{"a negative amount", "sidecar: {resources: {requests: {memory: -1Mi}}}", `config.sidecar.resources.requests.memory "-1Mi"`},
		{"memory of 256Mi", "sidecar: {resources: {limits: {memory: 256Mi}}}", `config.sidecar.resources.limits.memory "256Mi"`},
		{"memory of 536M", "sidecar: {resources: {limits: {memory: 536M}}}", `config.sidecar.resources.limits.memory "536M"`},
		{"memory of 536870911", "sidecar: {resources: {limits: {memory: 536870911}}}", `config.sidecar.resources.limits.memory "536870911"`},
		{"memory of 0.49Gi", "sidecar: {resources: {limits: {memory: 0.49Gi}}}", `config.sidecar.resources.limits.memory "0.49Gi"`},
		{"memory of 5e8", "sidecar: {resources: {limits: {memory: '5e8'}}}", `config.sidecar.resources.limits.memory "5e8"`},
		{"a privileged proxy port", "redirect: {proxyPort: 1023}", `config.redirect.proxyPort "1023"`},
		{"a privileged health port", "sidecar: {healthPort: 80}", `config.sidecar.healthPort "80"`},
		{"a duration beyond all", "sidecar: {dialTimeout: 9999999h}", `config.sidecar.dialTimeout "9999999h"`},
		{"a duration a little too long", "sidecar: {drainTimeout: 2562047h47m17s}", `config.sidecar.drainTimeout "2562047h47m17s"`},
		{"a duration too long in parts", "sidecar: {idleTimeout: 2562047h2562047h}", `config.sidecar.idleTimeout "2562047h2562047h"`},
		{"memory of nothing for init-redirect", "redirect: {resources: {requests: {memory: 1}, limits: {memory: 1}}}", `config.redirect.resources.limits.memory "1"`},
		{"too little memory for init-redirect", "redirect: {resources: {requests: {memory: 1Mi}, limits: {memory: 8191Ki}}}", `config.redirect.resources.limits.memory "8191Ki"`},
		{"memory for a larger buffer", "sidecar: {totalBuffer: 1GiB, resources: {limits: {memory: 2000Mi}}}", `config.sidecar.resources.limits.memory "2000Mi"`},
		{"memory for a buffer in Ki", "sidecar: {totalBuffer: 131072Ki, resources: {limits: {memory: 255Mi}}}", `config.sidecar.resources.limits.memory "255Mi"`},

		{"memory of nothing", "sidecar: {connectionBuffer: 256KiB, totalBuffer: 256KiB, resources: {limits: {memory: 1Mi}}}", `config.sidecar.resources.limits.memory "1Mi"`},
		{"request above the least limit", "sidecar: {connectionBuffer: 256KiB, totalBuffer: 256KiB, resources: {requests: {memory: 33Mi}}}", `config.sidecar.resources.requests.memory "33Mi"`},
		{"an amount beyond all", "sidecar: {resources: {requests: {cpu: '1e99999999'}, limits: {cpu: 1}}}", `config.sidecar.resources.requests.cpu "1e99999999"`},
		{"unknown inject", "inject: never", "/config/inject"},
		{"a label's value for inject", "inject: false", "/config/inject"},
		{"a proxy-server that nothing can say, enabled", "inject: enabled\npolicy: {configMaps: []}", "config has no proxyServer.addresses, which no other source may say"},
		{"unknown lock", "policy: {lockedFields: [podCIDRs]}", "/config/policy/lockedFields"},
		{"name of a ConfigMap", "policy: {configMaps: [A]}", "/config/policy/configMaps"},
		{"empty name of a ConfigMap", "policy: {configMaps: ['']}", "/config/policy/configMaps"},
		{"a proxy-server that nothing can say", "policy: {configMaps: []}", "config has no proxyServer.addresses, which no other source may say"},
		{"a shoot that nothing can say", "policy: {configMaps: [a], lockedFields: [config, pod-cidrs, service-cidrs, node-cidrs]}", "config has no shoot.podCIDRs, serviceCIDRs or nodeCIDRs"},
		{"a CA that nothing can say", "proxyServer: {addresses: [a:1]}\npolicy: {configMaps: []}", "config has no proxyServer.tls.caSecret or caConfigMap"},
		{"a client certificate that nothing can say", "proxyServer: {addresses: [a:1], tls: {caConfigMap: a}}\npolicy: {configMaps: []}", "config has no proxyServer.tls.clientSecret"},
		{"the seed is no CIDR", "policy: {seedCIDRs: [10.0.0.0]}", `config.policy.seedCIDRs "10.0.0.0"`},
		{"the seed's length 33", "policy: {seedCIDRs: [10.0.0.0/33]}", `config.policy.seedCIDRs "10.0.0.0/33"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := r.judge(tc.text)
			if v.webhook == nil {
				t.Errorf("the webhook accepts it: this case tests nothing")
			}
			if v.helm == nil {
				t.Errorf("helm accepts what the webhook refuses: %v", v.webhook)
			} else if !strings.Contains(v.helm.Error(), tc.want) {
				t.Errorf("helm does not name %s: %v", tc.want, v.helm)
			} else if advice := advised.FindStringSubmatch(v.helm.Error()); advice != nil {
				if again := r.judge("shoot: {podCIDRs: ['" + advice[1] + "']}"); again.helm != nil {
					t.Errorf("%v, and that is refused too: %v", v.helm, again.helm)
				}
			}
		})
	}
}

// TestHelmAcceptsWhatTheWebhookAccepts: helm accepts what the webhook accepts, in the
// same spelling.
func TestHelmAcceptsWhatTheWebhookAccepts(t *testing.T) {
	r := newRenderer(t).checksOnly()
	for _, text := range []string{
		"policy: {}",
		"shoot: {podCIDRs: [100.64.0.0/12, 'fd10:64::/48'], serviceCIDRs: [100.104.0.0/13], nodeCIDRs: [10.250.0.0/16]}",
		"shoot: {podCIDRs: [10.0.0.0/8]}",
		"shoot: {podCIDRs: [' 10.0.0.0/8 ']}",
		"shoot: {podCIDRs: [10.1.2.3/32, 10.0.0.0/9, 10.0.0.0/9, 10.1.0.0/16]}",
		"shoot: {podCIDRs: ['FD10:64:0:0:0:0:0:0/48', '1:2:3:4:5:6:7::/112', '::1:0:0:0/80', '2001:db8::10.0.0.0/120']}",
		"shoot: {podCIDRs: ['fd00::/16']}",
		"shoot: {podCIDRs: [10.1.0.0/16]}\nexcludeCIDRs: [10.1.0.0/17, 10.1.128.0/18]",
		"shoot: {podCIDRs: [10.1.0.0/16]}\nexcludeCIDRs: [10.9.0.0/16, 16.0.0.0/4, 'fd00::/8']",
		"shoot: {podCIDRs: [10.1.0.0/16, 'fd00::/48']}\nexcludeCIDRs: [0.0.0.0/0]",
		"excludePorts: [30000-32767, ' 1-1 ', '09-010']",
		"excludePorts: [22, '179', ' 8080 ', 65535, 1]",
		"proxyServer: {addresses: ['vpn-proxy-server:8090', '[fd00::1]:8090', '10.0.0.1:1', 'vpn_2.Svc.cluster.local.:65535', '[fe80::1%eth0]:8090']}",
		"proxyServer: {addresses: ['vpn:8090', 'vpn:8091', ' other:08090 ']}",
		"shoot: {podCIDRs: [100.64.0.0/12]}\nexcludeCIDRs: [100.64.0.1/32]\nproxyServer: {addresses: ['100.64.0.1:8090']}",
		"proxyServer: {mode: http-connect, serverName: vpn.example, tls: {caSecret: a.b, caKey: ca_bundle.crt, clientSecret: c}}",
		"proxyServer: {serverName: 10.0.0.1}",
		"proxyServer: {serverName: 'fd00::1'}",
		"proxyServer: {tls: {caConfigMap: a, caSecret: ''}}",
		"proxyServer: {mode: '', serverName: '', tls: {caSecret: '', caKey: '', clientSecret: ''}}",
		"exit: {addresses: ['10.0.0.1:9443', ' exit-a:9443', 'Exit-a:9443', '[fd00::1]:09443'], policy: require, serverName: exit, tls: {caSecret: a, caKey: b.crt, clientSecret: c}}",
		"exit: {policy: require}", "exit: {policy: '', serverName: '', tls: {caSecret: '', caConfigMap: a, caKey: ''}}", "exit: {tls: {clientSecret: a}}", "exit: {}",
		"nativeSidecar: true", "nativeSidecar: 'false'", "nativeSidecar: auto", "nativeSidecar: ''",
		"sidecar: {totalBuffer: 16MiB}", "sidecar: {totalBuffer: 1Gi}", "sidecar: {totalBuffer: 65536KiB}", "sidecar: {totalBuffer: '33554432'}", "sidecar: {totalBuffer: 33554432}",
		"sidecar: {connectionBuffer: 256KiB, maxConnections: 1000000, maxDials: '1', dialTimeout: 1m30s, halfCloseTimeout: .5s, idleTimeout: '0', serverKeepalive: 60m, drainTimeout: 1.5h, healthPort: 1024}",
		"sidecar: {idleTimeout: 0, healthPort: '14001'}\nredirect: {proxyPort: 14002, proxyUID: 2147483647}",
		"redirect: {iptables: legacy, resources: {requests: {cpu: 1, memory: 64Mi}, limits: {cpu: 1000m, ephemeral-storage: 1Gi}}}",
		"redirect: {iptables: '', proxyPort: '', proxyUID: ''}",
		"redirect: {proxyPort: 1025, resources: {requests: {memory: 1Mi}, limits: {memory: 8Mi}}}",
		"sidecar: {drainTimeout: 2562047h47m16s, halfCloseTimeout: 2562047h}",
		"sidecar: {connectionBuffer: 256KiB, totalBuffer: 256KiB, resources: {requests: {memory: 32Mi}}}",
		"excludeUIDs: [0, '1337', ' 4294967294 ']",
		"proxyServer: {alpnProtocols: [istio, istio-peer-exchange]}",
		"pod: {labels: {a: '', example.com/b_c: d.e}, imagePullSecrets: [a, b.c]}",
		"sidecar: {totalBuffer: '', logFormat: '', logLevel: '', imagePullPolicy: ''}",
		"sidecar: {logFormat: text, logLevel: DEBUG, imagePullPolicy: Never, readinessProbe: false}",
		"sidecar: {resources: {requests: {cpu: 10m, memory: 64Mi}, limits: {cpu: 1.5, memory: 512Mi}}}",
		"sidecar: {resources: {requests: {cpu: ''}, limits: {memory: ''}}}",
		"sidecar: {resources: {limits: {memory: 536870912}}}", "sidecar: {resources: {limits: {memory: 537M}}}",
		"sidecar: {resources: {limits: {memory: 0.5Gi}}}", "sidecar: {resources: {limits: {memory: '536870912'}}}",
		"sidecar: {resources: {limits: {memory: 536870912000m}}}", "sidecar: {resources: {limits: {memory: 6e8}}}", "sidecar: {resources: {limits: {memory: '.6G'}}}",
		"sidecar: {resources: {limits: {memory: 1Ti}}}", "sidecar: {resources: {limits: {memory: 524288Ki}}}", "sidecar: {resources: {limits: {memory: 1E}}}", "sidecar: {resources: {limits: {memory: +1Gi}}}",
		"sidecar: {totalBuffer: 128MiB, resources: {limits: {memory: 256Mi}}}",
		"sidecar: {totalBuffer: 131072Ki, resources: {limits: {memory: 256Mi}}}",
		"policy: {lockedFields: [], configMaps: [], gardener: true}",
		"policy: {lockedFields: [config, pod-cidrs, service-cidrs, node-cidrs, exclude-cidrs, exclude-ports, exclude-uids, proxy-server, mode, ca-secret, ca-configmap, client-secret, native-sidecar, mode]}",
		"policy: {configMaps: [a, a.b, a]}",
		"policy: {configMaps: [], lockedFields: [pod-cidrs, service-cidrs, node-cidrs], gardener: true}",
		"policy: {configMaps: [], lockedFields: [pod-cidrs, service-cidrs]}",
		"proxyServer: {addresses: [a:1], tls: {caSecret: a, clientSecret: b}}\npolicy: {configMaps: []}",
		"policy: {seedCIDRs: [10.0.0.1/8, 0.0.0.0/0, 'fd00::1/8', '::ffff:10.0.0.0/104']}",
		"policy: {seedCIDRs: []}",
		"inject: ''", "inject: enabled",
		"inject: disabled\npolicy: {configMaps: []}",
	} {
		t.Run(text, func(t *testing.T) {
			v := r.judge(text)
			if v.webhook != nil {
				t.Errorf("the webhook refuses it: this case tests nothing: %v", v.webhook)
			}
			if v.helm != nil {
				t.Errorf("helm refuses what the webhook accepts: %v", v.helm)
			}
			if v.installed != nil {
				t.Errorf("helm makes something else of it, which the webhook refuses: %v", v.installed)
			}
		})
	}
}
