// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/webhook/internal/configfile"
)

// FuzzAnnotations: with any annotations, the pod is refused in one sentence, or
// injected. Then the programs accept its flags, and each flag has one meaning.
func FuzzAnnotations(f *testing.F) {
	f.Add("pod-cidrs", "100.64.0.0/12", "exclude-ports", "22,9443")
	f.Add("node-cidrs", "10.250.0.1/16", "mode", "socks5")
	f.Add("proxy-server", "a:1,b:2", "native-sidecar", "true")
	f.Add("service-cidrs", "0.0.0.0/1", "pod-cidrs", "128.0.0.0/1")
	f.Add("status", `{"hash":"00","containers":["app"]}`, "config", "shoot-proxy")
	f.Add("exclude-cidrs", "100.64.0.0/16\n--mode=grpc", "ca-secret", "a\x00b")
	f.Fuzz(func(t *testing.T, nameA, valueA, nameB, valueB string) {
		for _, open := range []bool{false, true} {
			r, _ := goldenRequest(t, "plain")
			r.Pod.Annotations = map[string]string{AnnotationPrefix + nameA: valueA, AnnotationPrefix + nameB: valueB}
			if open {
				r.Defaults.file.Policy = &configfile.Policy{LockedFields: []string{}}
			}
			result := Mutate(r)
			switch result.Decision {
			case Inject:
				checkFlags(t, result.Pod)
			case Refuse:
				if result.Message == "" || strings.Contains(result.Message, "\n") && !strings.Contains(nameA+nameB, "\n") || !slices.Contains(Reasons(), result.Reason) {
					t.Errorf("%s: %q", result.Reason, result.Message)
				}
			default:
				t.Errorf("%s (%s): %s", result.Decision, result.Reason, result.Message)
			}
		}
	})
}

// checkFlags parses the flags of both containers as the programs do.
func checkFlags(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	for _, c := range containers(&pod.Spec) {
		flags := pflag.NewFlagSet(c.Name, pflag.ContinueOnError)
		switch c.Name {
		case proxyClient:
			o := options.NewProxyClient()
			o.AddFlags(flags)
			if err := flags.Parse(c.Args); err != nil || flags.NArg() > 0 {
				t.Fatalf("%q: %v", c.Args, err)
			}
			if err := o.Check(); err != nil {
				t.Errorf("%q: %v", c.Args, err)
			}
			if again := o.Args(); !slices.Equal(again, c.Args) {
				t.Errorf("%q are parsed as %q", c.Args, again)
			}
		case initRedirect:
			o := options.NewInitRedirect()
			o.AddFlags(flags)
			if err := flags.Parse(c.Args); err != nil || flags.NArg() > 0 {
				t.Fatalf("%q: %v", c.Args, err)
			}
			if _, err := o.Config(); err != nil {
				t.Errorf("%q: %v", c.Args, err)
			}
			if again := o.Args(); !slices.Equal(again, c.Args) {
				t.Errorf("%q are parsed as %q", c.Args, again)
			}
		}
	}
}

// FuzzConfig: a configuration is accepted, or refused in one sentence. An accepted one
// injects a pod, refuses it, or leaves it alone.
func FuzzConfig(f *testing.F) {
	f.Add(read(f, "testdata/config.yaml"))
	f.Add(read(f, "testdata/operator.config.yaml"))
	f.Add(read(f, "testdata/operator-disabled.config.yaml"))
	f.Add([]byte(header + "shoot: {podCIDRs: [0.0.0.0/1], nodeCIDRs: [128.0.0.0/1]}\n"))
	f.Add([]byte(`{"apiVersion": "config.shoot-proxy.io/v1alpha1", "kind": "InjectionConfig", "excludePorts": [22, "80"]}`))
	f.Add([]byte(header + "sidecar: {resources: {limits: {memory: 1e30}}, totalBuffer: 1TiB}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig("--config", text)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %q", err)
			}
			c = nil
		}
		r, _ := goldenRequest(t, "plain")
		r.ConfigMap = c
		if c != nil {
			r.Defaults = c
		}
		switch result := Mutate(r); result.Decision {
		case Inject:
			checkFlags(t, result.Pod)
		case Refuse:
			if result.Message == "" || strings.Contains(result.Message, "\n") {
				t.Errorf("%s: %q", result.Reason, result.Message)
			}
		case Skip:
			if result.Reason != ReasonConfigDisabled || c == nil {
				t.Errorf("%s: %q", result.Reason, result.Message)
			}
		default:
			t.Errorf("%s (%s): %s", result.Decision, result.Reason, result.Message)
		}
	})
}
