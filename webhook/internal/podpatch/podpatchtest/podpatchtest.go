// SPDX-License-Identifier: Apache-2.0

// Package podpatchtest applies the patches of package podpatch in tests.
package podpatchtest

import (
	"encoding/json"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/webhook/internal/podpatch"
)

// Patched returns before with the patch that changes it to after, applied as an API server
// does.
func Patched(t testing.TB, before, after *corev1.Pod) *corev1.Pod {
	t.Helper()
	patch, err := podpatch.Between(before, after)
	if err != nil {
		t.Fatal(err)
	}
	object, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(Apply(t, object, patch), pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

// Apply applies a JSON patch (RFC 6902) to an object.
func Apply(t testing.TB, object, patch []byte) []byte {
	t.Helper()
	operations, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		t.Fatal(err)
	}
	result, err := operations.Apply(object)
	if err != nil {
		t.Fatalf("the patch does not fit: %v\n%s", err, patch)
	}
	return result
}
