// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module       = "github.com/shoot-proxy/proxy-client"
	konnectivity = "sigs.k8s.io/apiserver-network-proxy/"
	protocol     = konnectivity + "konnectivity-client/proto/client"
)

// goTool runs the go command in the product's module.
func goTool(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// dependencies returns every package that is linked into pkg, pkg included.
func dependencies(t *testing.T, pkg string) []string {
	t.Helper()
	return strings.Fields(goTool(t, "list", "-deps", pkg))
}

func under(pkg string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(pkg+"/", prefix) })
}

// init-redirect is small and runs with NET_ADMIN: what it does not link cannot
// be attacked through it.
func TestInitRedirectLinksNoTunnel(t *testing.T) {
	for _, pkg := range dependencies(t, "./cmd/init-redirect") {
		if under(pkg, "google.golang.org/grpc/", konnectivity, module+"/internal/dialer/", module+"/internal/grpcwire/", module+"/internal/konnectivity/", module+"/internal/proxy/") {
			t.Errorf("init-redirect links %s", pkg)
		}
	}
}

// Kubernetes' libraries are large, and pull in more with each release.
func TestDataPathLinksNoKubernetes(t *testing.T) {
	allowed := dependencies(t, protocol)
	for _, command := range []string{"./cmd/proxy-client", "./cmd/init-redirect"} {
		for _, pkg := range dependencies(t, command) {
			if under(pkg, "k8s.io/", "sigs.k8s.io/") && !under(pkg, konnectivity+"konnectivity-client/") && !slices.Contains(allowed, pkg) {
				t.Errorf("%s links %s, which the generated protocol of konnectivity-client does not need", command, pkg)
			}
		}
	}
}

// One package knows upstream's protocol, and what reads flags or writes rules
// does not know of it.
func TestResponsibilitiesDoNotBlur(t *testing.T) {
	forbidden := map[string][]string{
		"internal/options": {"google.golang.org/grpc/", module + "/internal/dialer/", module + "/pkg/redirect/"},
		"internal/cidr":    {"os/", "net/http/", module + "/"},
		"internal/relay":   {"google.golang.org/grpc/", module + "/internal/options/"},
		"pkg/origdst":      {module + "/"},
		"pkg/redirect":     {"google.golang.org/grpc/", module + "/internal/options/", "github.com/spf13/"},
	}
	for _, file := range sources(t) {
		if file.isTest() || under(file.path, "test/") {
			continue
		}
		for _, spec := range file.ast.Imports {
			pkg, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatalf("%s: import %s: %v", file.path, spec.Path.Value, err)
			}
			if under(pkg, forbidden[file.dir()]...) {
				t.Errorf("%s:%d imports %s", file.path, file.line(spec.Pos()), pkg)
			}
			if under(pkg, konnectivity) && file.dir() != "internal/konnectivity/grpcmode" {
				t.Errorf("%s:%d imports %s: only internal/konnectivity/grpcmode knows its messages", file.path, file.line(spec.Pos()), pkg)
			}
		}
	}
}

// A replace or exclude of the product's go.mod would not hold for programs that
// import pkg/redirect or pkg/origdst: they would build something else.
func TestProductModuleReplacesNothing(t *testing.T) {
	var mod struct {
		Module  struct{ Path string }
		Replace []struct {
			Old, New struct{ Path, Version string }
		}
		Exclude []struct{ Path, Version string }
		Tool    []struct{ Path string }
	}
	if err := json.Unmarshal([]byte(goTool(t, "mod", "edit", "-json")), &mod); err != nil {
		t.Fatalf("read go.mod: %v", err)
	}
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
