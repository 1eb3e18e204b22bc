// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"
)

// TestDisabled: the namespace's ConfigMap overrides the operator's file. A pod that is
// left alone has the source in its message and in a warning.
func TestDisabled(t *testing.T) {
	const enabled, disabled, neither = header + "inject: enabled\n", header + "inject: disabled\n", header
	for _, tc := range []struct {
		name, operator, namespace string
		by                        string // the source, if the pod is left alone
	}{
		{"no source says it", neither, neither, ""},
		{"the namespace disables", neither, disabled, `ConfigMap "shoot-proxy"`},
		{"the namespace disables what is enabled", enabled, disabled, `ConfigMap "shoot-proxy"`},
		{"the operator disables", disabled, neither, "--config"},
		{"the operator disables, without a ConfigMap", disabled, "", "--config"},
		{"the namespace enables what is disabled", disabled, enabled, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, _ := goldenRequest(t, "plain")
			full := strings.TrimPrefix(string(read(t, "testdata/config.yaml")), header)
			var err error
			if r.Defaults, err = ParseConfig("--config", []byte(tc.operator+full)); err != nil {
				t.Fatal(err)
			}
			if tc.namespace != "" {
				if r.ConfigMap, err = ParseNamespaceConfig(`ConfigMap "shoot-proxy"`, []byte(tc.namespace)); err != nil {
					t.Fatal(err)
				}
			}
			result := Mutate(r)
			if tc.by == "" {
				if result.Decision != Inject || r.Disabled() {
					t.Errorf("%s (%s): %s; want it injected", result.Decision, result.Reason, result.Message)
				}
				return
			}
			if result.Decision != Skip || result.Reason != ReasonConfigDisabled || !r.Disabled() || result.Pod != nil {
				t.Errorf("%s (%s): %s; want it left alone", result.Decision, result.Reason, result.Message)
			}
			if !strings.HasPrefix(result.Message, tc.by+" says inject: disabled") {
				t.Errorf("the message does not begin with %s: %s", tc.by, result.Message)
			}
			if len(result.Warnings) != 1 || !strings.HasPrefix(result.Warnings[0], WarningDisabled+tc.by+" says") {
				t.Errorf("warnings %q, want one about %s", result.Warnings, tc.by)
			}
		})
	}
}

// TestDisabledNeedsNoSettings: a configuration that leaves all pods alone may leave out
// what a pod needs. One that does not is refused for it.
func TestDisabledNeedsNoSettings(t *testing.T) {
	const alone = "policy: {configMaps: [], lockedFields: [proxy-server]}\n"
	if _, err := ParseConfig("--config", []byte(header+"inject: disabled\n"+alone)); err != nil {
		t.Error(err)
	}
	if _, err := ParseConfig("--config", []byte(header+"inject: enabled\n"+alone)); err == nil {
		t.Error("a configuration without a proxy-server is accepted")
	}
}

// TestDisabledKeepsAnInjectedPod: a pod that was injected before keeps its redirect. Its
// author is not told that the pod's routes decide.
func TestDisabledKeepsAnInjectedPod(t *testing.T) {
	r, _ := goldenRequest(t, "namespace-enabled")
	disabled, _ := goldenRequest(t, "namespace-disabled")
	injected := Mutate(r)
	if injected.Decision != Inject {
		t.Fatalf("%s (%s): %s", injected.Decision, injected.Reason, injected.Message)
	}
	r.Pod, r.ConfigMap = injected.Pod, disabled.ConfigMap
	result := Mutate(r)
	if result.Decision != Skip || result.Reason != ReasonConfigDisabled || !strings.Contains(result.Message, "was injected before, and stays so") {
		t.Errorf("%s (%s): %s", result.Decision, result.Reason, result.Message)
	}
	if len(result.Warnings) != 1 || !strings.HasPrefix(result.Warnings[0], "injected before, and ") {
		t.Errorf("warnings %q, want one that says that the pod is injected", result.Warnings)
	}
	r.Pod.Spec.InitContainers = nil // only the annotation is left
	if result := Mutate(r); len(result.Warnings) != 1 || !strings.HasPrefix(result.Warnings[0], WarningDisabled) {
		t.Errorf("warnings %q, want one that says that the pod is not injected", result.Warnings)
	}
}

// TestBadLabelIsRefusedInADisabledNamespace: what the pod's author meant is not known.
func TestBadLabelIsRefusedInADisabledNamespace(t *testing.T) {
	r, _ := goldenRequest(t, "namespace-disabled")
	r.Pod.Labels[Label] = "True"
	if result := Mutate(r); result.Decision != Refuse || result.Reason != ReasonBadLabel {
		t.Errorf("%s (%s): %s", result.Decision, result.Reason, result.Message)
	}
}
