// SPDX-License-Identifier: Apache-2.0

package source

import "testing"

func TestKubeletMinor(t *testing.T) {
	for version, want := range map[string]int{
		"": 0, "1.x": 0, "v2.1.0": 0, "v1": 0, "v1.": 0, "v1.99999999999999999999": 0, "x1.33": 0,
		"v1.33.2": 33, "1.28": 28, "v1.29.0-rc.1": 29, "v1.30+vendor": 30, "v1.31.4-gke.1": 31, "v1.5.0": 5,
	} {
		if got := KubeletMinor(version); got != want {
			t.Errorf("%q is %d, want %d", version, got, want)
		}
	}
}
