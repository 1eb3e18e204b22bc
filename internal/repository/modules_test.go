// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"encoding/json"
	"go/ast"
	"maps"
	"path"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goMod is what a go.mod says.
type goMod struct {
	Module  struct{ Path string }
	Require []struct{ Path, Version string }
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
	Exclude []struct{ Path, Version string }
	Tool    []struct{ Path string }
}

// goModOf reads the go.mod in a folder of the repository.
func goModOf(t *testing.T, folder string) goMod {
	t.Helper()
	var mod goMod
	if err := json.Unmarshal([]byte(goTool(t, "mod", "edit", "-C", folder, "-json")), &mod); err != nil {
		t.Fatalf("read the go.mod in %s: %v", folder, err)
	}
	return mod
}

// broughtBy returns the modules that a module requires, directly or through others, of
// those that the go command considers for the root module. Versions are left out.
func broughtBy(t *testing.T, from string) map[string]bool {
	t.Helper()
	requires := map[string][]string{}
	for edge := range strings.Lines(goTool(t, "mod", "graph")) {
		requirer, required, ok := strings.Cut(strings.TrimSpace(edge), " ")
		if !ok {
			t.Fatalf("go mod graph prints %q, want two modules", edge)
		}
		requirer, _, _ = strings.Cut(requirer, "@")
		required, _, _ = strings.Cut(required, "@")
		requires[requirer] = append(requires[requirer], required)
	}
	reached, next := map[string]bool{}, []string{from}
	for len(next) > 0 {
		last := next[len(next)-1]
		next = next[:len(next)-1]
		if !reached[last] {
			reached[last] = true
			next = append(next, requires[last]...)
		}
	}
	return reached
}

// A program that imports pkg/redirect or pkg/origdst gets at least the versions that the
// root module requires. So the root module requires no library of Kubernetes that
// konnectivity-client does not require.
func TestRootModuleRequiresNoKubernetes(t *testing.T) {
	client := strings.TrimSuffix(konnectivity+"konnectivity-client", "/")
	brought := broughtBy(t, client)
	if !brought["google.golang.org/grpc"] {
		t.Fatalf("%s requires no gRPC, says go mod graph: the test reads it wrongly", client)
	}
	required := map[string]bool{}
	for _, requirement := range goModOf(t, ".").Require {
		required[requirement.Path] = true
	}
	if !required[client] {
		t.Fatalf("the root module does not require %s: the test reads go.mod wrongly", client)
	}
	// Those that only other modules require count too: they raise versions as well.
	maps.Copy(required, broughtBy(t, module))
	for path := range required {
		if under(path, "k8s.io/", "sigs.k8s.io/") && !brought[path] {
			t.Errorf("the root module requires %s, which %s does not: what needs it belongs to the module webhook", path, client)
		}
	}
}

// A replace or exclude of the product's go.mod would not hold for programs that
// import pkg/redirect or pkg/origdst: they would build something else.
func TestProductModuleReplacesNothing(t *testing.T) {
	mod := goModOf(t, ".")
	if mod.Module.Path != module {
		t.Errorf("module is %s, want %s", mod.Module.Path, module)
	}
	for _, replace := range mod.Replace {
		t.Errorf("go.mod replaces %s", replace.Old.Path)
	}
	for _, exclude := range mod.Exclude {
		t.Errorf("go.mod excludes %s@%s", exclude.Path, exclude.Version)
	}
	for _, tool := range mod.Tool {
		t.Errorf("go.mod has the tool %s: tools belong into a module under test/", tool.Path)
	}
}

// The webhook's module takes the root module from the folder above, and changes nothing
// else of what it links.
func TestWebhookModuleReplacesOnlyTheRoot(t *testing.T) {
	mod := goModOf(t, "webhook")
	if mod.Module.Path != module+"/webhook" {
		t.Errorf("module is %s, want %s/webhook", mod.Module.Path, module)
	}
	replaced := map[string]string{}
	for _, replace := range mod.Replace {
		replaced[replace.Old.Path] = replace.New.Path
	}
	if diff := cmp.Diff(map[string]string{module: ".."}, replaced); diff != "" {
		t.Errorf("webhook/go.mod replaces other modules (-want +got):\n%s", diff)
	}
	for _, exclude := range mod.Exclude {
		t.Errorf("webhook/go.mod excludes %s@%s", exclude.Path, exclude.Version)
	}
	for _, tool := range mod.Tool {
		t.Errorf("webhook/go.mod has the tool %s: tools belong into a module under test/", tool.Path)
	}
}

// The root module's tests run with the versions that its go.mod requires. The webhook
// links some of the root's packages, and with other versions those are not tested.
func TestWebhookLinksTheVersionsOfTheRoot(t *testing.T) {
	selected := map[string]string{}
	for line := range strings.Lines(goTool(t, "list", "-C", "webhook", "-m", "-f", "{{.Path}} {{.Version}}", "all")) {
		path, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		selected[path] = version
	}
	requirements := goModOf(t, ".").Require
	if len(requirements) == 0 {
		t.Fatal("the root module requires nothing: the test reads go.mod wrongly")
	}
	for _, root := range requirements {
		if got := selected[root.Path]; got != root.Version {
			t.Errorf("the webhook links %s %s, and the root module %s: run go get %[1]s@VERSION in both", root.Path, got, root.Version)
		}
	}
}

// Go's cache of test results ignores a file that lies outside of the module that is
// tested, unless the test opens it through a link inside. So the webhook's tests read the
// documents through links in webhook/testdata/repository, and run again if one changes.
func TestWebhookTestsReadThroughLinks(t *testing.T) {
	for _, file := range sources(t) {
		if !file.isTest() || !under(file.path, "webhook/") {
			continue
		}
		ast.Inspect(file.ast, func(node ast.Node) bool {
			literal, ok := node.(*ast.BasicLit)
			if !ok {
				return true
			}
			name, err := strconv.Unquote(literal.Value)
			if err == nil && strings.HasPrefix(name, "../") && !under(path.Join(file.dir(), name), "webhook/") {
				t.Errorf("%s:%d: %s is outside of the module: read it through a link in webhook/testdata/repository", file.path, file.line(node.Pos()), name)
			}
			return true
		})
	}
}
