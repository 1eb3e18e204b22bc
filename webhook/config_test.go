// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

const header = "apiVersion: config.shoot-proxy.io/v1alpha1\nkind: InjectionConfig\n"

// TestBadConfig: each mistake is one sentence that names the field.
func TestBadConfig(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "--config is empty: write an InjectionConfig"},
		{"no YAML", "a: [", "--config does not parse: near line 1: a value is missing"},
		{"another kind", "apiVersion: config.shoot-proxy.io/v1alpha1\nkind: Config\n", `--config has kind "Config": write InjectionConfig`},
		{"another version", "apiVersion: v1\nkind: InjectionConfig\n", `--config has apiVersion "v1": write config.shoot-proxy.io/v1alpha1`},
		{"two documents", header + "---\n" + header, "--config has more than one document: write one InjectionConfig"},
		{"unknown field", header + "shoot: {podCidrs: [100.64.0.0/12]}\n", "--config has in line 3 the unknown field podCidrs in section shoot: did you mean podCIDRs?"},
		{"a field of another section", header + "podCIDRs: [100.64.0.0/12]\n", "--config has in line 3 the unknown field podCIDRs: it belongs into section shoot"},
		{"the chart's values", "config:\n  shoot: {podCIDRs: [100.64.0.0/12]}\nimages: {registry: registry.example}\n", "--config has the chart's values: give a file with what is under config, and with apiVersion: config.shoot-proxy.io/v1alpha1 and kind: InjectionConfig"},
		{"the chart's values in JSON", `{"replicas": 1, "config": {}}`, "--config has the chart's values: give a file with what is under config, and with apiVersion: config.shoot-proxy.io/v1alpha1 and kind: InjectionConfig"},
		{"config in an InjectionConfig", header + "config: {}\n", "--config has in line 3 the unknown field config: known here are"},
		{"a ConfigMap", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shoot-proxy}\ndata: {config.yaml: text}\n", "--config is the whole ConfigMap: give a file with what its key config.yaml holds"},
		{"a template", header + "proxyServer: {{ .Values.proxyServer }}\n", "--config has {{ outside of quotes (line 3)"},
		{"wrong type", header + "shoot: {podCIDRs: {a: b}}\n", "--config has in line 3 a mapping for shoot.podCIDRs: write a list"},
		{"a text for a list", header + "shoot: {podCIDRs: 100.64.0.0/12}\n", `--config has in line 3 "100.64.0.0/12" for shoot.podCIDRs: write a list, [100.64.0.0/12]`},
		{"empty list", header + "shoot: {podCIDRs: []}\n", "--config shoot.podCIDRs is an empty list: leave it out, or write something into it"},
		{"bad CIDR", header + "shoot: {nodeCIDRs: [10.0.0.0/33]}\n", `--config shoot.nodeCIDRs "10.0.0.0/33"`},
		{"everything in parts", header + "shoot: {nodeCIDRs: [0.0.0.0/1], podCIDRs: [128.0.0.0/1]}\n", "--config shoot."},
		{"bad exclusion", header + "excludeCIDRs: [nowhere]\n", `--config excludeCIDRs "nowhere"`},
		{"bad port", header + "excludePorts: [0]\n", `--config excludePorts "0"`},
		{"no port", header + "proxyServer: {addresses: [vpn-proxy-server]}\n", `--config proxyServer.addresses "vpn-proxy-server"`},
		{"Unix socket", header + "proxyServer: {addresses: ['unix:///run/x.sock']}\n", `--config proxyServer.addresses "unix:///run/x.sock" is a Unix socket, which no pod can reach: write host:port`},
		{"server in the shoot", header + "shoot: {podCIDRs: [100.64.0.0/12]}\nproxyServer: {addresses: ['100.64.0.1:8090']}\n", `--config proxyServer.addresses "100.64.0.1:8090" lies inside of shoot.podCIDRs`},
		{"bad mode", header + "proxyServer: {mode: socks5}\n", `--config proxyServer.mode "socks5" is not a mode`},
		{"bad server name", header + "proxyServer: {serverName: 'a b'}\n", `--config proxyServer.serverName "a b"`},
		{"bad secret", header + "proxyServer: {tls: {caSecret: CA}}\n", `--config proxyServer.tls.caSecret "CA" is not a name`},
		{"bad ConfigMap", header + "proxyServer: {tls: {caConfigMap: CA}}\n", `--config proxyServer.tls.caConfigMap "CA" is not a name`},
		{"two CAs", header + "proxyServer: {tls: {caConfigMap: a, caSecret: b}}\n", `--config proxyServer.tls.caConfigMap "a" is set beside caSecret, and the CA can be in one of the two: leave one out`},
		{"bad key", header + "proxyServer: {tls: {caKey: a/b}}\n", `--config proxyServer.tls.caKey "a/b" is not a key`},
		{"no port of an exit", header + "exit: {addresses: [exit]}\n", `--config exit.addresses "exit" has no port: write it like 10.250.0.10:9443`},
		{"an exit that is a URL", header + "exit: {addresses: ['https://exit:1']}\n", `--config exit.addresses "https://exit:1" is a URL`},
		{"an exit twice", header + "exit: {addresses: ['a:1', 'a:01']}\n", `--config exit.addresses "a:01" is given twice`},
		{"no exits", header + "exit: {addresses: []}\n", "--config exit.addresses is an empty list"},
		{"bad policy", header + "exit: {policy: always}\n", `--config exit.policy "always" is not a policy: write prefer or require`},
		{"bad name of an exit", header + "exit: {serverName: 'a b'}\n", `--config exit.serverName "a b"`},
		{"bad Secret of an exit", header + "exit: {tls: {caSecret: CA}}\n", `--config exit.tls.caSecret "CA" is not a name`},
		{"bad client Secret of an exit", header + "exit: {tls: {clientSecret: CA}}\n", `--config exit.tls.clientSecret "CA" is not a name`},
		{"two CAs of an exit", header + "exit: {tls: {caConfigMap: a, caSecret: b}}\n", `--config exit.tls.caConfigMap "a" is set beside caSecret`},
		{"bad key of an exit", header + "exit: {tls: {caKey: a/b}}\n", `--config exit.tls.caKey "a/b" is not a key`},
		{"unknown field of an exit", header + "exit: {address: 'a:1'}\n", "--config has in line 3 the unknown field address in section exit: did you mean addresses?"},
		{"bad native", header + "nativeSidecar: maybe\n", `--config nativeSidecar "maybe" is not known: write auto, true or false`},
		{"bad buffer", header + "sidecar: {totalBuffer: much}\n", `--config sidecar.totalBuffer "much"`},
		{"bad backend", header + "redirect: {iptables: ebtables}\n", `--config redirect.iptables "ebtables" is not a backend`},
		{"bad format", header + "sidecar: {logFormat: xml}\n", `--config sidecar.logFormat "xml"`},
		{"bad level", header + "sidecar: {logLevel: loud}\n", `--config sidecar.logLevel "loud"`},
		{"bad health port", header + "sidecar: {healthPort: 70000}\n", `--config sidecar.healthPort "70000" has port 70000: ports go from 1 to 65535`},
		{"no health port", header + "sidecar: {healthPort: http}\n", `--config sidecar.healthPort "http" has a port that is not a number`},
		{"health port with a zero", header + "sidecar: {healthPort: '0x50'}\n", `--config sidecar.healthPort "0x50"`},
		{"bad proxy port", header + "redirect: {proxyPort: 70000}\n", `--config redirect.proxyPort "70000" is not a port`},
		{"no proxy port", header + "redirect: {proxyPort: a}\n", `--config redirect.proxyPort "a" is not a whole number`},
		{"a privileged proxy port", header + "redirect: {proxyPort: 1023}\n", `--config redirect.proxyPort "1023" needs a privilege that proxy-client does not have: write a port from 1024 to 65535`},
		{"a privileged health port", header + "sidecar: {healthPort: 80}\n", `--config sidecar.healthPort "80" needs a privilege`},
		{"no memory for init-redirect", header + "redirect: {resources: {requests: {memory: 1}, limits: {memory: 1}}}\n", `--config redirect.resources.limits.memory "1" is less than the 8Mi that init-redirect needs: raise it`},
		{"little memory for init-redirect", header + "redirect: {resources: {requests: {memory: 1Mi}, limits: {memory: 8191Ki}}}\n", `--config redirect.resources.limits.memory "8191Ki" is less than the 8Mi`},
		{"one port for two", header + "redirect: {proxyPort: 14021}\n", `--config sidecar.healthPort "14021"`},
		{"the status page's port for health", header + "sidecar: {healthPort: 14000}\n", `--config sidecar.healthPort "14000" is the port of the status page: write another`},
		{"the status page's port for the proxy", header + "redirect: {proxyPort: 14000}\n", `--config redirect.proxyPort "14000" is the port of the status page: write another`},
		{"root as proxy", header + "redirect: {proxyUID: 0}\n", `--config redirect.proxyUID "0" is root`},
		{"bad uid", header + "excludeUIDs: [app]\n", `--config excludeUIDs "app" is not a uid`},
		{"bad duration", header + "sidecar: {dialTimeout: 5}\n", `--config sidecar.dialTimeout "5" is not a duration`},
		{"no duration", header + "sidecar: {drainTimeout: 0s}\n", `--config sidecar.drainTimeout "0s" is not positive`},
		{"bad keepalive", header + "sidecar: {serverKeepalive: 1ms}\n", `--config sidecar.serverKeepalive "1ms"`},
		{"bad limit", header + "sidecar: {maxConnections: 0}\n", `--config sidecar.maxConnections "0"`},
		{"bad dials", header + "sidecar: {maxDials: 0}\n", `--config sidecar.maxDials "0"`},
		{"buffer above all", header + "sidecar: {connectionBuffer: 1GiB}\n", `--config sidecar.totalBuffer "256MiB" is less than one connection may hold, sidecar.connectionBuffer 1GiB`},
		{"bad ALPN", header + "proxyServer: {alpnProtocols: [a, a]}\n", `--config proxyServer.alpnProtocols "a" is given twice`},
		{"request above limit", header + "redirect: {resources: {requests: {cpu: 2}, limits: {cpu: 1}}}\n", `--config redirect.resources.requests.cpu "2" is more than redirect.resources.limits.cpu, which is 1`},
		{"no quantity of init-redirect", header + "redirect: {resources: {limits: {memory: much}}}\n", `--config redirect.resources.limits.memory "much" is not an amount`},
		{"request above init-redirect's default", header + "redirect: {resources: {requests: {memory: 1Gi}}}\n", `--config redirect.resources.requests.memory "1Gi" is more than redirect.resources.limits.memory, which is 64Mi`},
		{"request above proxy-client's default", header + "sidecar: {resources: {requests: {memory: 1Gi}}}\n", `--config sidecar.resources.requests.memory "1Gi" is more than the limit, which follows from sidecar.totalBuffer`},
		{"our label", header + "pod: {labels: {shoot-proxy.io/inject: 'false'}}\n", `--config pod.labels "shoot-proxy.io/inject" is one of the webhook's own`},
		{"bad label", header + "pod: {labels: {'a b': c}}\n", `--config pod.labels "a b" is not a label`},
		{"bad label value", header + "pod: {labels: {a: 'b c'}}\n", `--config pod.labels "a" has value "b c"`},
		{"bad pull secret", header + "pod: {imagePullSecrets: [A]}\n", `--config pod.imagePullSecrets "A" is not a name`},
		{"bad policy", header + "sidecar: {imagePullPolicy: Sometimes}\n", `--config sidecar.imagePullPolicy "Sometimes" is not a policy`},
		{"no quantity", header + "sidecar: {resources: {limits: {memory: much}}}\n", `--config sidecar.resources.limits.memory "much" is not an amount`},
		{"another resource", header + "sidecar: {resources: {limits: {gpu: 1}}}\n", "--config has in line 3 the unknown field gpu in section sidecar.resources.limits"},
		{"no image", header + "images: {proxyClient: 'a b'}\n", `--config images.proxyClient "a b" is not an image`},
		{"bad version", header + "version: \"a\\tb\"\n", `--config version "a\tb" is not a version`},
		{"bad probe", header + "sidecar: {readinessProbe: maybe}\n", `--config sidecar.readinessProbe "maybe" is not known: write true or false`},
		{"too little memory", header + "sidecar: {resources: {limits: {memory: 256Mi}}}\n", `--config sidecar.resources.limits.memory "256Mi" is less than twice sidecar.totalBuffer`},
		{"memory of nothing", header + "sidecar: {connectionBuffer: 256KiB, totalBuffer: 256KiB, resources: {limits: {memory: 1Mi}}}\n", `--config sidecar.resources.limits.memory "1Mi" is less than the 32Mi that proxy-client needs`},
		{"request beyond all", header + "sidecar: {resources: {requests: {cpu: 1e99999999}, limits: {cpu: 1}}}\n", `--config sidecar.resources.requests.cpu "1e99999999" is not an amount`},
		{"memory beyond all", header + "redirect: {resources: {requests: {memory: 1E+99999999}}}\n", `--config redirect.resources.requests.memory "1E+99999999" is not an amount`},
		{"digits beyond all", header + "sidecar: {resources: {limits: {memory: " + strings.Repeat("9", 33) + "}}}\n", `--config sidecar.resources.limits.memory "` + strings.Repeat("9", 33) + `" is not an amount`},
		{"unknown inject", header + "inject: never\n", `--config inject "never" is not known: write enabled or disabled`},
		{"misspelt inject", header + "inject: disable\n", `--config inject "disable" is not known: did you mean disabled?`},
		{"a label's value for inject", header + "inject: false\n", `--config inject "false" is not known: write enabled or disabled`},
		{"unknown lock", header + "policy: {lockedFields: [tls]}\n", `--config policy.lockedFields "tls" is no annotation: write some of config, pod-cidrs`},
		{"misspelt lock", header + "policy: {lockedFields: [proxy-sever]}\n", `--config policy.lockedFields "proxy-sever" is no annotation: did you mean proxy-server?`},
		{"bad name", header + "policy: {configMaps: [A]}\n", `--config policy.configMaps "A" is not a name`},
		{"a proxy-server that nothing can say", header + "policy: {configMaps: [], lockedFields: [proxy-server]}\n", "--config has no proxyServer.addresses, which no other source may say: set it, or name a ConfigMap in policy.configMaps, or take proxy-server out of policy.lockedFields"},
		{"a shoot that nothing can say", header + "policy: {configMaps: [a], lockedFields: [config, pod-cidrs, service-cidrs, node-cidrs]}\n", "--config has no shoot.podCIDRs, serviceCIDRs or nodeCIDRs, which no other source may say"},
		{"a CA that nothing can say", header + "proxyServer: {addresses: ['a:1']}\npolicy: {configMaps: []}\n", "--config has no proxyServer.tls.caSecret or caConfigMap, which no other source may say"},
		{"nothing is locked by a dash", header + "policy:\n  lockedFields:\n  -\n", "--config has in line 5 nothing for policy.lockedFields[0]"},
		{"misspelt and misplaced", header + "podCIDR: [10.0.0.0/8]\n", "--config has in line 3 the unknown field podCIDR: did you mean podCIDRs in section shoot?"},
		{"merged from another section", header + "sidecar: &a {healthPort: 14099}\nredirect: {<<: *a}\n", "--config has in line 3 the unknown field healthPort in section redirect: "},
		{"uid beyond kube-apiserver's", header + "redirect: {proxyUID: 2147483648}\n", `--config redirect.proxyUID "2147483648" is more than a pod may say, which is 2147483647`},
		{"a URL for an image", header + "images: {proxyClient: 'https://registry.example/a:b'}\n", `--config images.proxyClient "https://registry.example/a:b" is not an image`},
		{"bad seed", header + "policy: {seedCIDRs: [10.0.0.0]}\n", `--config policy.seedCIDRs "10.0.0.0" is not a CIDR`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseConfig("--config", []byte(tc.text))
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

// TestGoodConfig: JSON is accepted, and so is a part of each section.
func TestGoodConfig(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": header,
		"JSON":    `{"apiVersion": "config.shoot-proxy.io/v1alpha1", "kind": "InjectionConfig", "excludePorts": [22, "80"], "nativeSidecar": true}`,
		"a part":  header + "shoot: {serviceCIDRs: [100.104.0.0/13]}\n",
		"policy":  header + "policy: {lockedFields: [], configMaps: [], gardener: true}\n",

		"CIDRs of Gardener's": header + "policy: {lockedFields: [pod-cidrs, service-cidrs, node-cidrs], configMaps: [], gardener: true}\n",
		"leaves pods alone":   header + "inject: disabled\n",
		"a ConfigMap by name": header + "policy: {configMaps: [a]}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseConfig("--config", []byte(text)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNamespaceConfigQuotesNothing: a refusal does not show the author of a pod the
// content of a ConfigMap.
func TestNamespaceConfigQuotesNothing(t *testing.T) {
	const secret = "s3cr3t"
	for _, text := range []string{
		secret, secret + ": 1", header + secret + ": 1\n", header + "shoot: " + secret + "\n", header + "shoot: {podCIDRs: [" + secret + "]}\n",
		header + "proxyServer: {mode: " + secret + "}\n", "apiVersion: " + secret + "\n", header + "proxyServer: {tls: {caSecret: " + secret + "_}}\n",
		header + "nativeSidecar: " + secret + "\n", header + "kind: " + secret + "\n", header + "a: &x [*" + secret + "]\n",
	} {
		_, err := ParseNamespaceConfig(`ConfigMap "shoot-proxy"`, []byte(text))
		if err == nil || strings.Contains(err.Error(), secret) || !strings.HasPrefix(err.Error(), `ConfigMap "shoot-proxy" cannot be used`) {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && !strings.Contains(Detail(err), secret) && strings.Count(text, secret) == 1 && !strings.Contains(text, "shoot: "+secret) {
			t.Logf("the operator is not told either: %s", Detail(err))
		}
	}
}

// TestConfigMapFor: a pod may name what the operator allows. Otherwise it gets the
// default ConfigMap, if that is allowed.
func TestConfigMapFor(t *testing.T) {
	const policy = header + "policy: {lockedFields: [], configMaps: "
	for _, tc := range []struct {
		name, config, annotation string
		want                     string
		required                 bool
		reason                   Reason
	}{
		{name: "nothing said", config: header, want: "shoot-proxy"},
		{name: "the default, by name", config: header, annotation: "shoot-proxy", want: "shoot-proxy", required: true},
		{name: "another", config: header, annotation: "other", required: true, reason: ReasonConfigNotAllowed},
		{name: "another that is allowed", config: policy + "[other]}", annotation: "other", want: "other", required: true},
		{name: "the default is not allowed", config: policy + "[other]}"},
		{name: "none is allowed", config: policy + "[]}"},
		{name: "none is allowed, one is named", config: policy + "[]}", annotation: "other", required: true, reason: ReasonConfigNotAllowed},
		{name: "no operator", annotation: "other", want: "other", required: true},
		{name: "the annotation is locked", config: header + "policy: {lockedFields: [config]}", annotation: "shoot-proxy", required: true, reason: ReasonLocked},
		{name: "no name", annotation: "", config: header, want: "shoot-proxy"},
		{name: "a bad name", annotation: "A/b", required: true, reason: ReasonBadAnnotation},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pod := &corev1.Pod{}
			if tc.annotation != "" {
				annotate(pod, AnnotationPrefix+annotationConfig, tc.annotation)
			}
			var c *Config
			if tc.config != "" {
				var err error
				if c, err = ParseConfig("--config", []byte(tc.config)); err != nil {
					t.Fatal(err)
				}
			}
			name, required, refusal := ConfigMapFor(pod, c)
			var reason Reason
			if refusal != nil {
				reason = refusal.Reason
			}
			if name != tc.want || required != tc.required || reason != tc.reason {
				t.Errorf("%q, required %v, %q; want %q, %v, %q", name, required, reason, tc.want, tc.required, tc.reason)
			}
		})
	}
}
