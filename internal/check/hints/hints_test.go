// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	f.Add(MetricsPrefix + "ready_backend_connections 2\nx_build_info{version=\"1\"} 1\n")
	f.Add("a{b=\"} \"} 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		h := parse(strings.NewReader(text))
		if h.Agents != 0 && !h.Reached {
			t.Errorf("%d agents in metrics of another program: %q", h.Agents, text)
		}
	})
}
