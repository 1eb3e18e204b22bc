// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"slices"
	"strings"
	"testing"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

// renderer does the same as `helm template`, in this process. Tests that need thousands
// of renderings have no time for as many processes.
type renderer struct{ chart *helmchart.Chart }

func newRenderer(t testing.TB) renderer {
	t.Helper()
	return newRendererOf(t, chart)
}

// newRendererOf returns a renderer of one of [charts].
func newRendererOf(t testing.TB, folder string) renderer {
	t.Helper()
	loaded, err := loader.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	return renderer{loaded}
}

// checksOnly returns a renderer of only the configuration and the templates that check
// the values.
func (r renderer) checksOnly() renderer {
	less := *r.chart
	less.Templates = slices.DeleteFunc(slices.Clone(less.Templates), func(f *helmchart.File) bool {
		return !strings.HasSuffix(f.Name, ".tpl") && !strings.HasSuffix(f.Name, "/configmap.yaml") && !strings.HasSuffix(f.Name, "/checks.yaml")
	})
	return renderer{&less}
}

// render returns the chart's manifests for a file of values, by template.
func (r renderer) render(values string) (map[string]string, error) {
	read, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		return nil, err
	}
	options := chartutil.ReleaseOptions{Name: r.chart.Name(), Namespace: namespace, Revision: 1, IsInstall: true}
	capabilities := chartutil.DefaultCapabilities.Copy()
	version, err := chartutil.ParseKubeVersion(kubernetes)
	if err != nil {
		return nil, err
	}
	capabilities.KubeVersion = *version
	all, err := chartutil.ToRenderValues(r.chart, read, options, capabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(r.chart, all)
}
