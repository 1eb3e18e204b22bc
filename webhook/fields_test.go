// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/webhook/internal/configfile"
)

// TestAnnotationsAreThoseOfFields: a field's annotation is a name that this package
// knows, and no two fields share one.
func TestAnnotationsAreThoseOfFields(t *testing.T) {
	want := []string{
		annotationConfig, annotationPodCIDRs, annotationServiceCIDRs, annotationNodeCIDRs, annotationExcludeCIDRs, annotationExcludePorts, annotationExcludeUIDs,
		annotationProxyServer, annotationMode, annotationCASecret, annotationCAConfigMap, annotationClientSecret, annotationNativeSidecar,
	}
	if d := cmp.Diff(want, lockable()); d != "" {
		t.Errorf("(-names.go +fields):\n%s", d)
	}
}

// TestEveryFieldIsDocumented: docs/webhook.md shows the whole configuration.
func TestEveryFieldIsDocumented(t *testing.T) {
	_, example, ok := strings.Cut(string(read(t, "testdata/repository/webhook.md")), "\n```yaml\n"+header)
	if !ok {
		t.Fatal("docs/webhook.md has no configuration")
	}
	example, _, _ = strings.Cut(example, "\n```\n")
	for _, f := range append([]configfile.Field{{Name: configfile.Inject}}, configfile.Fields()...) {
		name := f.Name[strings.LastIndexByte(f.Name, '.')+1:]
		if name != "ephemeral-storage" && !strings.Contains(example, name+":") { // seldom used
			t.Errorf("docs/webhook.md does not show %s", f.Name)
		}
	}
}

// TestChartTakesEveryField: the schema of the chart's values has every field, except
// those that the chart itself writes.
func TestChartTakesEveryField(t *testing.T) {
	type schema struct {
		Ref         string             `json:"$ref"`
		Properties  map[string]*schema `json:"properties"`
		Definitions map[string]*schema `json:"definitions"`
	}
	root := &schema{}
	if err := json.Unmarshal(read(t, "testdata/repository/values.schema.json"), root); err != nil {
		t.Fatal(err)
	}
	for _, f := range append([]configfile.Field{{Name: configfile.Inject}}, configfile.Fields()...) {
		at := root.Properties["config"]
		for name := range strings.SplitSeq(f.Name, ".") {
			if at = at.Properties[name]; at == nil {
				break
			}
			if definition, ok := strings.CutPrefix(at.Ref, "#/definitions/"); ok {
				at = root.Definitions[definition]
			}
		}
		if ofChart := f.Name == "version" || strings.HasPrefix(f.Name, "images."); ofChart == (at != nil) {
			t.Errorf("%s: the schema has it: %v; the chart writes it: %v", f.Name, at != nil, ofChart)
		}
	}
}
