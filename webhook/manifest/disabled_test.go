// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// TestDisabledNamespace: if the namespace's ConfigMap leaves labelled pods alone, the
// document stays the same byte for byte. The explanation says why, also with --strict.
func TestDisabledNamespace(t *testing.T) {
	options := testOptions(t)
	options.Strict = true
	var err error
	options.ConfigMap, err = webhook.ParseNamespaceConfig(`--configmap "own.yaml"`, []byte("apiVersion: config.shoot-proxy.io/v1alpha1\nkind: InjectionConfig\ninject: disabled\n"))
	if err != nil {
		t.Fatal(err)
	}
	stream := fmt.Appendf(nil, aPod, "app", "")
	result := Inject(stream, options)
	if !bytes.Equal(result.Output, stream) {
		t.Errorf("the output is\n%s", result.Output)
	}
	var said bytes.Buffer
	if err := result.Explain(&said); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`document 1: Pod app: skip: --configmap "own.yaml" says inject: disabled, so labelled pods stay as they are`,
		`  warning: not injected: --configmap "own.yaml" says inject: disabled`,
	} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("the explanation does not say %q:\n%s", want, &said)
		}
	}
}
