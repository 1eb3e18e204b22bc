// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
	"github.com/shoot-proxy/proxy-client/webhook"
)

// document explains the webhook. More examples are in the README, in the documents about
// the installation, other systems and VPNs, and beside the chart.
const (
	document  = root + "/docs/webhook.md"
	readme    = root + "/README.md"
	install   = root + "/docs/install.md"
	systems   = root + "/docs/systems.md"
	vpn       = root + "/docs/vpn.md"
	shared    = root + "/docs/shared-balancer.md"
	aboutExit = root + "/docs/exit.md"
)

var block = regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```$")

// examples returns the YAML blocks of all documents that contain a text.
func examples(t *testing.T, text string) []string {
	t.Helper()
	var found []string
	for _, match := range block.FindAllStringSubmatch(read(t, readme)+read(t, document)+read(t, install)+read(t, systems)+read(t, vpn)+read(t, shared)+read(t, aboutExit)+read(t, chart+"/README.md"), -1) {
		indent, example := match[1], match[2]
		example = strings.ReplaceAll("\n"+example, "\n"+indent, "\n")[1:] // the indentation of a list
		if strings.Contains(example, text) {
			found = append(found, example)
		}
	}
	if len(found) == 0 {
		t.Fatalf("no document has an example with %q", text)
	}
	return found
}

func TestDocumentedValuesAreAccepted(t *testing.T) {
	for _, values := range examples(t, "# values") {
		file := filepath.Join(t.TempDir(), "values.yaml")
		write(t, file, values)
		if _, err := template(t, file); err != nil {
			t.Errorf("values are documented that are refused: %v\n%s", err, values)
		}
	}
}

func TestDocumentedValuesOfTheExitAreAccepted(t *testing.T) {
	for _, values := range examples(t, "# exit-values") {
		file := filepath.Join(t.TempDir(), "values.yaml")
		write(t, file, values)
		if _, err := templateOf(t, exitChart, file); err != nil {
			t.Errorf("values are documented that are refused: %v\n%s", err, values)
		}
	}
}

func TestDocumentedPolicyIsAccepted(t *testing.T) {
	for _, text := range examples(t, "kind: ExitPolicy") {
		if _, err := exitpolicy.Parse([]byte(text)); err != nil {
			t.Errorf("a policy is documented that is refused: it %v\n%s", err, text)
		}
	}
}

func TestDocumentedConfigurationIsAccepted(t *testing.T) {
	for _, text := range examples(t, "kind: InjectionConfig") {
		objects := parse(t, text)
		if config, ok := objects[0].at("data", webhook.ConfigKey).(string); ok {
			if _, err := webhook.ParseNamespaceConfig("the ConfigMap", []byte(config)); err != nil {
				t.Errorf("%s: %s", document, webhook.Detail(err))
			}
		} else if _, err := webhook.ParseConfig("the example", []byte(text)); err != nil {
			t.Errorf("%s: %v", document, err)
		}
	}
}

// TestDocumentedParentChartWorks: helm renders a chart that embeds ours as documented.
func TestDocumentedParentChartWorks(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "parent")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	// The documented repository is beside the parent's folder.
	if err := os.CopyFS(filepath.Join(filepath.Dir(folder), "proxy-client"), os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	write(t, folder+"/Chart.yaml", "apiVersion: v2\nname: parent\nversion: 1.0.0\n"+examples(t, "# your Chart.yaml")[0])
	write(t, folder+"/values.yaml", examples(t, "# your values.yaml")[0])
	if output, err := run(t, "dependency", "update", folder); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	text, err := run(t, "template", "seed", folder, "--namespace", namespace, "--kube-version", kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	if image, _ := webhookContainer(t, parse(t, text))["image"].(string); !strings.HasPrefix(image, "registry.example/") {
		t.Errorf("the webhook's image is %s", image)
	}
}

// TestDocumentedKustomizationWorks: the documented kustomization beside a release's
// manifests replaces the configuration. Without its comment signs it replaces the
// registry of the webhook's image too, and keeps the digest.
func TestDocumentedKustomizationWorks(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "deploy"), os.DirFS(deploy)); err != nil {
		t.Fatal(err)
	}
	const repository = "/shoot-proxy/webhook"
	digest := "@sha256:" + strings.Repeat("0a", 32)
	// A release for registry.example names the image in this way.
	manifest := regexp.MustCompile(`image: "shoot-proxy/webhook:[^"]*"`).
		ReplaceAllString(read(t, deploy+"/webhook.yaml"), `image: "registry.example`+repository+digest+`"`)
	write(t, filepath.Join(dir, "deploy", "webhook.yaml"), manifest)
	config, kustomization := examples(t, "# config.yaml")[0], examples(t, "# kustomization.yaml")[0]
	write(t, filepath.Join(dir, "config.yaml"), config)
	for registry, text := range map[string]string{
		"registry.example": kustomization,
		"mirror.example":   strings.ReplaceAll(kustomization, "\n# ", "\n"),
	} {
		write(t, filepath.Join(dir, "kustomization.yaml"), text)
		built := kustomizeBuild(t, dir)
		if got := configOf(t, built); got != config {
			t.Errorf("the configuration is %q, want the documented %q", got, config)
		}
		if got, want := webhookContainer(t, built)["image"], registry+repository+digest; got != want {
			t.Errorf("the webhook's image is %s, want %s", got, want)
		}
	}
}

// TestEveryRefusalIsExplained: the table says what to do about every reason for which a
// pod is refused.
func TestEveryRefusalIsExplained(t *testing.T) {
	_, section, ok := strings.Cut(read(t, document), "\n## Why a pod is refused\n")
	if !ok {
		t.Fatalf("%s does not say why a pod is refused", document)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var documented, want []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(section, -1) {
		for name := range strings.SplitSeq(row[1], ", ") {
			documented = append(documented, strings.Trim(name, "`"))
		}
	}
	for _, reason := range webhook.Reasons() {
		switch reason {
		case webhook.ReasonInjected, webhook.ReasonUpgraded, webhook.ReasonRestored, webhook.ReasonNoLabel, webhook.ReasonDisabled, webhook.ReasonAlreadyInjected, webhook.ReasonConfigDisabled:
		default:
			want = append(want, string(reason))
		}
	}
	slices.Sort(want)
	slices.Sort(documented)
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("reasons (-webhook +%s):\n%s", document, diff)
	}
}

// TestWebhookKnowsWhatItIsGiven: flags, path and Lease must be in the webhook's source.
// This module does not build the webhook.
func TestWebhookKnowsWhatItIsGiven(t *testing.T) {
	var source strings.Builder
	for _, file := range slices.Concat(files(t, root+"/webhook/cmd/webhook/*.go"), files(t, root+"/webhook/serve/*.go"), files(t, root+"/webhook/dryrun/*.go")) {
		if !strings.HasSuffix(file, "_test.go") {
			source.WriteString(read(t, file))
		}
	}
	text, err := template(t)
	if err != nil {
		t.Fatal(err)
	}
	given := []string{"/mutate", "shoot-proxy-webhook-certificates", "inject.shoot-proxy.io"}
	for _, word := range given {
		if !strings.Contains(text, " "+word+"\n") && !strings.Contains(text, "["+word+"]") {
			t.Errorf("the chart does not have %s", word)
		}
	}
	_, objects := hooks(t, chart+"/ci/defaults-values.yaml")
	pod := find(t, objects, "Pod")
	for _, container := range []any{webhookContainer(t, parse(t, text)), pod.at("spec", "containers").([]any)[0]} {
		for _, arg := range list(container.(map[string]any)["args"]) {
			name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
			given = append(given, name)
		}
	}
	for _, word := range given {
		if !strings.Contains(source.String(), `"`+word+`"`) {
			t.Errorf("the webhook does not know %s", word)
		}
	}
}
