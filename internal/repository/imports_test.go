// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"os/exec"
	"path/filepath"
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
	read(t, filepath.Join(root, "go.mod")) // so that Go's cache of test results looks at it
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

// dependencies returns every package that is linked into pkg, including pkg.
func dependencies(t *testing.T, pkg string) []string {
	t.Helper()
	return strings.Fields(goTool(t, "list", "-deps", pkg))
}

func under(pkg string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(pkg+"/", prefix) })
}

// init-redirect is small and runs with NET_ADMIN. Code that it does not link cannot be
// attacked through it.
func TestInitRedirectLinksNoTunnel(t *testing.T) {
	for _, pkg := range dependencies(t, "./cmd/init-redirect") {
		if under(pkg, "google.golang.org/grpc/", konnectivity, module+"/internal/dialer/", module+"/internal/grpcwire/", module+"/internal/konnectivity/", module+"/internal/proxy/") {
			t.Errorf("init-redirect links %s", pkg)
		}
	}
}

// Kubernetes' libraries are large, and bring more with each release.
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

// Only one package knows upstream's protocol. Packages that read flags or write rules
// do not know it.
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
			if under(pkg, konnectivity) && !under(file.dir(), "internal/konnectivity/grpcmode/") {
				t.Errorf("%s:%d imports %s: only internal/konnectivity/grpcmode knows its messages", file.path, file.line(spec.Pos()), pkg)
			}
		}
	}
}
