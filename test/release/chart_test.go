// SPDX-License-Identifier: Apache-2.0

package release

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// helm runs the helm that made the release, without the settings of the user who runs the
// test.
func (r tree) helm(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(string(r), "test/bin/tools-kube/helm"), args...)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("helm %q: %v\n%s", args, err, output)
	}
	return string(output)
}

// chartOfSources returns the charts' version in the sources, which a release replaces.
func chartOfSources(t *testing.T) string {
	t.Helper()
	var chart struct{ Version string }
	if err := yaml.Unmarshal([]byte(read(t, root+"/charts/proxy-client/Chart.yaml")), &chart); err != nil || chart.Version == "" {
		t.Fatalf("the chart has no version (%v)", err)
	}
	return chart.Version
}

// checkCharts checks what helm makes of the packed charts.
func checkCharts(t *testing.T, r tree, images map[string]image) {
	checkChart(t, r, "proxy-client",
		`image: "`+images["webhook"].reference("webhook")+`"`,
		"proxyClient: "+images["proxy-client"].reference("proxy-client"),
		"initRedirect: "+images["init-redirect"].reference("init-redirect"))
	checkChart(t, r, "proxy-exit", `image: "`+images["proxy-exit"].reference("proxy-exit")+`"`)
}

// checkChart checks a packed chart, and expects it to render the images.
func checkChart(t *testing.T, r tree, name string, images ...string) {
	packed := filepath.Join(r.dist(), name+"-"+version+".tgz")
	var chart struct {
		Version    string
		AppVersion string `yaml:"appVersion"`
	}
	if err := yaml.Unmarshal([]byte(r.helm(t, "show", "chart", packed)), &chart); err != nil {
		t.Fatal(err)
	}
	if chart.Version != version || chart.AppVersion != version {
		t.Errorf("the packed chart %s has version %s and appVersion %s, and not %s", name, chart.Version, chart.AppVersion, version)
	}
	r.helm(t, "lint", "--strict", packed)
	rendered := r.helm(t, "template", name, packed, "--namespace", "shoot-proxy")
	for _, want := range append(images, `app.kubernetes.io/version: "`+version+`"`, "helm.sh/chart: "+name+"-"+version) {
		if !strings.Contains(rendered, want) {
			t.Errorf("the packed chart %s renders no %q", name, want)
		}
	}
	checkTimes(t, packed)
}

// checkTimes expects the time of the commit in a packed chart, and no data of the
// machine.
func checkTimes(t *testing.T, packed string) {
	t.Helper()
	file, err := os.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	if !unpacked.ModTime.IsZero() || unpacked.Name != "" {
		t.Errorf("%s says when it was packed (%v) and of what (%q)", packed, unpacked.ModTime, unpacked.Name)
	}
	committed := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	reader := tar.NewReader(unpacked)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.Equal(committed) || header.Uid != 0 || header.Uname != "" {
			t.Errorf("%s in the packed chart is of %v and user %d %q", header.Name, header.ModTime, header.Uid, header.Uname)
		}
	}
}

// checkManifests expects deploy as it is in the sources, with the release's version
// and images.
func checkManifests(t *testing.T, r tree, images map[string]image) {
	sources := chartOfSources(t)
	replacements := []string{`app.kubernetes.io/version: "` + sources + `"`, `app.kubernetes.io/version: "` + version + `"`, "\nversion: " + sources, "\nversion: " + version}
	for program, image := range images {
		replacements = append(replacements, "shoot-proxy/"+program+":"+sources, image.reference(program))
	}
	entries, err := os.ReadDir(root + "/deploy")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() { // control-plane, which is not part of a release
			continue
		}
		text := read(t, filepath.Join(root, "deploy", entry.Name()))
		want := strings.NewReplacer(replacements...).Replace(text)
		if entry.Name() == "webhook.yaml" && !slices.ContainsFunc(programs, func(program string) bool { return strings.Contains(text, program+":"+sources) }) {
			t.Errorf("deploy/%s of the sources names no image by the chart's version", entry.Name())
		}
		if diff := cmp.Diff(want, read(t, filepath.Join(r.dist(), "deploy", entry.Name()))); diff != "" {
			t.Errorf("the release makes something else of deploy/%s (-want +got):\n%s", entry.Name(), diff)
		}
	}
}
