// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestAdviceForPodsIsText: a value that a refusal advises to write into a label or an
// annotation is a string in YAML, as it is.
func TestAdviceForPodsIsText(t *testing.T) {
	advised := regexp.MustCompile(`(?:write|set annotation .* to) .*?("?(?:true|false)"?)(?:,| or )`)
	defaults, err := ParseConfig("--config", read(t, "testdata/config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, head := range map[string]string{
		"label":      "labels: {shoot-proxy.io/inject: yes please}",
		"annotation": "annotations: {shoot-proxy.io/native-sidecar: maybe}\n  labels: {shoot-proxy.io/inject: 'true'}",
		"a job's":    "labels: {shoot-proxy.io/inject: 'true'}",
	} {
		text := "apiVersion: v1\nkind: Pod\nmetadata:\n  " + head + "\nspec: {restartPolicy: Never, containers: [{name: a, image: a}]}\n"
		said := Mutate(Request{Pod: podOf(t, text), Defaults: defaults}).Message
		match := advised.FindStringSubmatch(said)
		if match == nil {
			t.Errorf("%s: it advises nothing: %s", name, said)
			continue
		}
		var written map[string]any
		if err := yaml.Unmarshal([]byte("value: "+match[1]), &written); err != nil {
			t.Fatal(err)
		}
		if value, ok := written["value"].(string); !ok || value == "" {
			t.Errorf("%s: it advises %s, which is no text: %s", name, match[1], said)
		}
	}
}

// podOf returns the pod in a manifest.
func podOf(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte(text), pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

// TestMissingSourcesAreAllNamed: the refusal names all sources that could set a missing
// value, also the operator's file.
func TestMissingSourcesAreAllNamed(t *testing.T) {
	full := header + "shoot: {podCIDRs: [100.64.0.0/12]}\nproxyServer: {addresses: ['vpn:8090'], tls: {caSecret: a, clientSecret: b}}\n"
	for _, without := range []string{"shoot: {podCIDRs: [100.64.0.0/12]}\n", "addresses: ['vpn:8090'], ", "caSecret: a, ", ", clientSecret: b"} {
		for policy, annotation := range map[string]bool{
			"policy: {lockedFields: []}\n": true,
			"policy: {lockedFields: [pod-cidrs, service-cidrs, node-cidrs, proxy-server, ca-secret, client-secret]}\n": false,
		} {
			c, err := ParseConfig("--config", []byte(strings.Replace(full, without, "", 1)+policy))
			if err != nil {
				t.Fatal(err)
			}
			pod := podOf(t, "metadata: {labels: {shoot-proxy.io/inject: 'true'}}\nspec: {containers: [{name: a, image: a}]}\n")
			said := Mutate(Request{Pod: pod, Defaults: c}).Message
			if !strings.Contains(said, `in the webhook's configuration (--config) or ConfigMap "shoot-proxy" of the namespace`) {
				t.Errorf("without %sit says: %s", without, said)
			}
			if got := strings.Contains(said, ", or annotation "+AnnotationPrefix); got != annotation {
				t.Errorf("without %swith %sit says: %s", without, policy, said)
			}
		}
	}
}

// A pod for which several values are missing is refused in one sentence with all of
// them.
func TestAllThatIsMissingIsToldAtOnce(t *testing.T) {
	c, err := ParseConfig("--config", []byte(header+"proxyServer: {tls: {caSecret: a}}\npolicy: {lockedFields: [proxy-server]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	pod := podOf(t, "metadata: {labels: {shoot-proxy.io/inject: 'true'}}\nspec: {containers: [{name: a, image: a}]}\n")
	r := Mutate(Request{Pod: pod, Defaults: c})
	const want = "nothing says where the shoot is, nor where the proxy-server is, nor which Secret has the client certificate: " +
		"set shoot.podCIDRs, serviceCIDRs or nodeCIDRs, and proxyServer.addresses, and proxyServer.tls.clientSecret " +
		`in the webhook's configuration (--config) or ConfigMap "shoot-proxy" of the namespace, ` +
		"or annotations shoot-proxy.io/pod-cidrs, shoot-proxy.io/client-secret"
	if r.Message != want || r.Reason != ReasonNoCIDRs {
		t.Errorf("got  %s: %s\nwant %s", r.Reason, r.Message, want)
	}
}

// If the operator allows no ConfigMap of a namespace, a refusal advises none.
func TestNoConfigMapIsAdvisedWhereNoneIsRead(t *testing.T) {
	c, err := ParseConfig("--config", []byte(header+"policy: {configMaps: [], lockedFields: []}\n"))
	if err != nil {
		t.Fatal(err)
	}
	pod := podOf(t, "metadata: {labels: {shoot-proxy.io/inject: 'true'}}\nspec: {containers: [{name: a, image: a}]}\n")
	said := Mutate(Request{Pod: pod, Defaults: c}).Message
	if !strings.Contains(said, "in the webhook's configuration (--config), or annotations ") || strings.Contains(said, `ConfigMap "`) {
		t.Errorf("it says: %s", said)
	}
}

// If the operator has locked an annotation, a refusal advises the next one that could set
// the missing value.
func TestALockedAnnotationIsNotAdvised(t *testing.T) {
	const full = "proxyServer: {addresses: ['vpn:8090'], tls: {caSecret: a, clientSecret: b}}\n"
	pod := podOf(t, "metadata: {labels: {shoot-proxy.io/inject: 'true'}}\nspec: {containers: [{name: a, image: a}]}\n")
	for locked, want := range map[string]string{
		"":                                     ", or annotation shoot-proxy.io/pod-cidrs",
		"pod-cidrs":                            ", or annotation shoot-proxy.io/service-cidrs",
		"pod-cidrs, service-cidrs":             ", or annotation shoot-proxy.io/node-cidrs",
		"pod-cidrs, service-cidrs, node-cidrs": " of the namespace",
	} {
		c, err := ParseConfig("--config", []byte(header+full+"policy: {lockedFields: ["+locked+"]}\n"))
		if err != nil {
			t.Fatal(err)
		}
		if said := Mutate(Request{Pod: pod, Defaults: c}).Message; !strings.HasSuffix(said, want) {
			t.Errorf("with %q locked it says: %s", locked, said)
		}
	}
}
