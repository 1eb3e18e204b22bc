// SPDX-License-Identifier: Apache-2.0

package release

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// bomSchema returns CycloneDX's own schema, which is in its Go module.
func bomSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatalf("find the module of CycloneDX: %v", err)
	}
	compiler := jsonschema.NewCompiler()
	for url, name := range map[string]string{
		"http://cyclonedx.org/schema/bom-1.6.schema.json":  "bom-1.6.schema.json",
		"http://cyclonedx.org/schema/spdx.schema.json":     "spdx.schema.json",
		"http://cyclonedx.org/schema/jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		text := read(t, filepath.Join(strings.TrimSpace(string(output)), "schema", name))
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource(url, document); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := compiler.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// debianPackages returns the packages that images/packages.lock pins for an architecture,
// with versions.
func debianPackages(t *testing.T, arch string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(read(t, root+"/images/packages.lock")) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == arch {
			all[fields[1]] = fields[2]
		}
	}
	if all["iptables"] == "" {
		t.Fatalf("images/packages.lock pins no iptables for %s", arch)
	}
	return all
}

// checkSBOMs compares the lists of the parts of images and of the plugin with the programs
// and the lock file.
func checkSBOMs(t *testing.T, dist string, images map[string]image) {
	schema := bomSchema(t)
	for _, program := range programs {
		for arch := range architectures {
			name := program + "-linux-" + arch
			bom := readSBOM(t, schema, dist, name)
			want := map[string]string{}
			if program == "init-redirect" {
				want = debianPackages(t, arch)
			}
			checkSubject(t, name, bom, images[program].digests[arch].String())
			checkComponents(t, name, bom, modules(t, filepath.Join(dist, "bin", name)), want)
		}
	}
	sums := hashes(t, filepath.Join(dist, "bin"))
	for _, platform := range pluginPlatforms() {
		name := plugin + "-" + platform
		bom := readSBOM(t, schema, dist, name)
		checkSubject(t, name, bom, "sha256:"+sums[name])
		checkComponents(t, name, bom, modules(t, filepath.Join(dist, "bin", name)), nil)
	}
}

// readSBOM reads an SBOM, and expects it to be valid.
func readSBOM(t *testing.T, schema *jsonschema.Schema, dist, name string) *cyclonedx.BOM {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dist, "sbom", name+".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("SBOM %s: %v", name, err)
	}
	if err := schema.Validate(document); err != nil {
		t.Errorf("SBOM %s is not valid: %v", name, err)
	}
	bom := &cyclonedx.BOM{}
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(text), cyclonedx.BOMFileFormatJSON).Decode(bom); err != nil {
		t.Fatalf("SBOM %s: %v", name, err)
	}
	return bom
}

// checkSubject expects the SBOM to name the image, and no data that differs with each
// run.
func checkSubject(t *testing.T, name string, bom *cyclonedx.BOM, digest string) {
	t.Helper()
	if bom.SerialNumber != "" || bom.Metadata.Timestamp != "2026-01-02T03:04:05Z" {
		t.Errorf("SBOM %s has serial number %q and time %s, and not the commit's", name, bom.SerialNumber, bom.Metadata.Timestamp)
	}
	subject := bom.Metadata.Component
	sum := strings.TrimPrefix(digest, "sha256:")
	if subject.Version != version || !strings.Contains(subject.PackageURL, sum) {
		t.Errorf("SBOM %s is of version %s, %s, and its subject is %s", name, subject.Version, subject.PackageURL, digest)
	}
	if subject.Hashes == nil || len(*subject.Hashes) != 1 || "sha256:"+(*subject.Hashes)[0].Value != digest {
		t.Errorf("SBOM %s has hashes %v, and the image is %s", name, subject.Hashes, digest)
	}
}

// checkComponents expects each module and each package, with version and licence. It
// expects no other package of Debian.
func checkComponents(t *testing.T, name string, bom *cyclonedx.BOM, modules, packages map[string]string) {
	t.Helper()
	listed := map[string]cyclonedx.Component{}
	for _, component := range *bom.Components {
		if component.Type == cyclonedx.ComponentTypeOS {
			continue // this component says that the packages are of Debian 12
		}
		kind, _, _ := strings.Cut(component.PackageURL, "/")
		if kind != "pkg:golang" && kind != "pkg:deb" {
			t.Errorf("SBOM %s has %s with package URL %q", name, component.Name, component.PackageURL)
		}
		if component.Licenses == nil || len(*component.Licenses) == 0 {
			t.Errorf("SBOM %s knows no licence of %s", name, component.Name)
		}
		if _, pinned := packages[component.Name]; kind == "pkg:deb" && !pinned {
			t.Errorf("SBOM %s has Debian's %s, which the lock file does not", name, component.Name)
		}
		listed[kind+"/"+component.Name] = component
	}
	expect := func(kind string, want map[string]string) {
		for item, version := range want {
			if got := listed[kind+"/"+item].Version; got != version {
				t.Errorf("SBOM %s has %s with version %q, and the image is made of %s", name, item, got, version)
			}
		}
	}
	expect("pkg:golang", modules)
	expect("pkg:golang", map[string]string{product: "v" + version})
	expect("pkg:deb", packages)
}
