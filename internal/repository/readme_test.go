// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"errors"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/dialer"
	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
	"github.com/shoot-proxy/proxy-client/internal/exitserver"
	"github.com/shoot-proxy/proxy-client/internal/exitway"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/proxy"
	"github.com/shoot-proxy/proxy-client/internal/relay"
)

// table returns the rows of the tables below a heading of README.md, up to the next
// heading. The key of a row is its first cell, if that is code.
func table(t *testing.T, heading string) map[string][]string {
	t.Helper()
	return tableOf(t, "README.md", heading)
}

// tableOf is like table, for any document.
func tableOf(t *testing.T, document, heading string) map[string][]string {
	t.Helper()
	_, rest, found := strings.Cut(read(t, filepath.Join(root, document)), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no heading %q", document, heading)
	}
	rows := map[string][]string{}
	for line := range strings.SplitSeq(rest, "\n") {
		if strings.HasPrefix(line, "#") {
			break
		}
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "| "), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		name := strings.Trim(cells[0], "`")
		if rows[name] != nil {
			t.Errorf("%s, %s: %s stands there twice", document, heading, name)
		}
		rows[name] = cells
	}
	return rows
}

// flags returns the rows about flags.
func flags(rows map[string][]string) map[string][]string {
	found := map[string][]string{}
	for name, cells := range rows {
		if flag, ok := strings.CutPrefix(name, "--"); ok {
			found[flag] = cells
		}
	}
	return found
}

// helpFlag matches a flag in a line of `--help`.
var helpFlag = regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z0-9-]+)`)

// flagsOf returns the flags in the help of a binary's commands.
func flagsOf(t *testing.T, binary string, commands ...string) []string {
	t.Helper()
	var names []string
	for _, command := range append(commands, "") {
		out, err := exec.Command(binary, append(strings.Fields(command), "--help")...).Output()
		if err != nil {
			t.Fatalf("%s %s --help: %v", filepath.Base(binary), command, err)
		}
		for _, match := range helpFlag.FindAllStringSubmatch(string(out), -1) {
			if match[1] != "help" {
				names = append(names, match[1])
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// buildFlags finds the flags with which the Makefile builds programs.
var buildFlags = regexp.MustCompile(`(?m)^BUILD_FLAGS := (.*)$`)

// build builds all commands of a module and returns the folder that they are in. It takes
// the Makefile's flags, so that the packages are compiled once for both.
func build(t *testing.T, folder string) string {
	t.Helper()
	flags := buildFlags.FindStringSubmatch(read(t, filepath.Join(root, "Makefile")))
	if flags == nil {
		t.Fatal("the Makefile has no BUILD_FLAGS")
	}
	bin := t.TempDir()
	t.Setenv("CGO_ENABLED", "0")
	goTool(t, slices.Concat([]string{"build", "-C", folder, "-buildvcs=false", "-ldflags=-s -w", "-o", bin + "/"}, strings.Fields(flags[1]), []string{"./cmd/..."})...)
	return bin
}

func TestReadmeHasEveryFlag(t *testing.T) {
	bin := build(t, ".")
	shared := flags(table(t, "### Both programs"))
	for _, program := range []struct {
		name, prefix string
		commands     []string
		add          func(*pflag.FlagSet)
	}{
		{
			"init-redirect", options.InitRedirectPrefix,
			[]string{"apply", "verify", "plan", "dump", "clean"},
			func(fs *pflag.FlagSet) { o := options.NewInitRedirect(); o.AddFlags(fs); o.AddDumpFlags(fs) },
		},
		{
			"proxy-client", options.ProxyClientPrefix,
			[]string{"version"},
			func(fs *pflag.FlagSet) { options.NewProxyClient().AddFlags(fs) },
		},
		{
			"proxy-exit", options.ProxyExitPrefix,
			[]string{"serve"},
			func(fs *pflag.FlagSet) { options.NewProxyExit().AddFlags(fs) },
		},
	} {
		t.Run(program.name, func(t *testing.T) {
			documented := flags(table(t, "### "+program.name))
			for flag, cells := range documented {
				if want := "`" + flagset.Variable(program.prefix, flag) + "`"; cells[1] != want {
					t.Errorf("README.md says that --%s has the variable %s, it is %s", flag, cells[1], want)
				}
			}
			for flag, cells := range shared {
				if program.name == "proxy-exit" {
					break // it has no CIDRs, and says itself what it shares
				}
				if want := "`" + flagset.Variable("…", flag) + "`"; cells[1] != want {
					t.Errorf("README.md says that --%s has the variable %s, it ends in %s", flag, cells[1], want)
				}
				documented[flag] = cells
			}
			has := flagsOf(t, filepath.Join(bin, program.name), program.commands...)
			if diff := cmp.Diff(has, slices.Sorted(maps.Keys(documented))); diff != "" {
				t.Errorf("%s's flags are not those of README.md (-%s --help +README.md):\n%s", program.name, program.name, diff)
			}
			fs := pflag.NewFlagSet(program.name, pflag.ContinueOnError)
			program.add(fs)
			fs.VisitAll(func(f *pflag.Flag) { checkDefault(t, f, documented[f.Name]) })
		})
	}
}

// flagInCell matches a flag in a table's cell, which may name several.
var flagInCell = regexp.MustCompile("`--([a-z-]+)`")

// The commands for manifests have the flags that docs/webhook.md lists.
func TestWebhookDocumentHasEveryFlag(t *testing.T) {
	bin := build(t, "webhook")
	var documented []string
	for _, cells := range tableOf(t, "docs/webhook.md", "## Manifests instead of a webhook") {
		for _, match := range flagInCell.FindAllStringSubmatch(cells[0], -1) {
			documented = append(documented, match[1])
		}
	}
	slices.Sort(documented)
	for _, command := range []string{"inject", "explain"} {
		if diff := cmp.Diff(flagsOf(t, filepath.Join(bin, "webhook"), command), documented); diff != "" {
			t.Errorf("flags of %s (-%[1]s --help +docs/webhook.md):\n%[2]s", command, diff)
		}
	}
}

// checkDefault compares a flag's default with its row. For a flag without a default of
// its own, the row may say in words what follows from other flags.
func checkDefault(t *testing.T, f *pflag.Flag, cells []string) {
	t.Helper()
	if len(cells) != 4 {
		t.Errorf("README.md: the row of --%s must have four cells, has %d", f.Name, len(cells))
		return
	}
	want := strings.Trim(f.DefValue, "[]")
	if want == "" {
		return
	}
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.AddFlag(f)
	// Setting the documented default must give the real one: 60s is 1m0s.
	if err := fs.Set(f.Name, strings.Trim(cells[2], "`")); err != nil || f.Value.String() != f.DefValue {
		t.Errorf("README.md says that the default of --%s is %s, it is %s", f.Name, cells[2], f.DefValue)
	}
}

func TestReadmeExplainsEveryReason(t *testing.T) {
	var dials, closes []string
	for _, reason := range proxy.Reasons() {
		dials = append(dials, string(reason))
	}
	for _, reason := range relay.CloseReasons() {
		closes = append(closes, string(reason))
	}
	for heading, want := range map[string][]string{
		"### Why a connection was not made": dials,
		"### Why a connection ended":        closes,
	} {
		slices.Sort(want)
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(table(t, heading)))); diff != "" {
			t.Errorf("README.md, %s (-code +README.md):\n%s", heading, diff)
		}
	}
}

// descriptions is a registry that only records the names of metrics.
type descriptions struct{ names []string }

var descriptionName = regexp.MustCompile(`fqName: "([^"]+)"`)

// MustRegister implements prometheus.Registerer.
func (d *descriptions) MustRegister(collectors ...prometheus.Collector) {
	for _, collector := range collectors {
		if err := d.Register(collector); err != nil {
			panic(err)
		}
	}
}

// Register implements prometheus.Registerer. A Desc shows its name only in its text.
func (d *descriptions) Register(collector prometheus.Collector) error {
	found := make(chan *prometheus.Desc)
	go func() {
		defer close(found)
		collector.Describe(found)
	}()
	for desc := range found {
		match := descriptionName.FindStringSubmatch(desc.String())
		if match == nil {
			return errors.New("a metric without a name: " + desc.String())
		}
		d.names = append(d.names, match[1])
	}
	return nil
}

// Unregister implements prometheus.Registerer.
func (d *descriptions) Unregister(prometheus.Collector) bool { return false }

func TestReadmeNamesEveryMetric(t *testing.T) {
	registry := &descriptions{}
	dialer.NewMetrics(registry)
	exitway.NewMetrics(registry)
	proxy.NewMetrics(registry)
	have := slices.DeleteFunc(registry.names, func(name string) bool {
		return strings.HasPrefix(name, "konnectivity_network_proxy_client_")
	})
	have = append(have, "konnectivity_network_proxy_client_*")
	slices.Sort(have)
	if diff := cmp.Diff(have, slices.Sorted(maps.Keys(table(t, "## Metrics and reasons")))); diff != "" {
		t.Errorf("README.md, Metrics (-code +README.md):\n%s", diff)
	}
}

func TestReadmeNamesEveryMetricOfTheExit(t *testing.T) {
	registry := &descriptions{}
	exitserver.NewMetrics(registry)
	slices.Sort(registry.names)
	if diff := cmp.Diff(registry.names, slices.Sorted(maps.Keys(table(t, "#### Metrics of proxy-exit")))); diff != "" {
		t.Errorf("README.md, Metrics of proxy-exit (-code +README.md):\n%s", diff)
	}
}

// The exit accepts the policy that README.md shows.
func TestReadmesPolicyIsAccepted(t *testing.T) {
	_, rest, found := strings.Cut(read(t, filepath.Join(root, "README.md")), "kind: ExitPolicy\n")
	text, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("README.md shows no policy")
	}
	if _, err := exitpolicy.Parse([]byte("apiVersion: config.shoot-proxy.io/v1alpha1\nkind: ExitPolicy\n" + text)); err != nil {
		t.Errorf("README.md's policy %v", err)
	}
}

// Our programs accept the pod that README.md shows.
func TestReadmesPodIsAccepted(t *testing.T) {
	_, rest, found := strings.Cut(read(t, filepath.Join(root, "README.md")), "```yaml\napiVersion: v1\nkind: Pod\n")
	if !found {
		t.Fatal("README.md shows no pod")
	}
	manifest, _, _ := strings.Cut(rest, "```")
	var pod struct {
		Spec struct {
			InitContainers []struct {
				Name string   `yaml:"name"`
				Args []string `yaml:"args"`
			} `yaml:"initContainers"`
		} `yaml:"spec"`
	}
	if err := yaml.Unmarshal([]byte(manifest), &pod); err != nil {
		t.Fatalf("README.md's pod is no YAML: %v", err)
	}
	if len(pod.Spec.InitContainers) != 2 {
		t.Fatalf("README.md's pod has %d init containers, want init-redirect and proxy-client", len(pod.Spec.InitContainers))
	}
	initRedirect, proxyClient := options.NewInitRedirect(), options.NewProxyClient()
	for i, add := range []func(*pflag.FlagSet){initRedirect.AddFlags, proxyClient.AddFlags} {
		container := pod.Spec.InitContainers[i]
		fs := pflag.NewFlagSet(container.Name, pflag.ContinueOnError)
		add(fs)
		if err := fs.Parse(container.Args); err != nil {
			t.Errorf("README.md's %s would exit with code 2: %v", container.Name, err)
		}
	}
	if _, err := initRedirect.Config(); err != nil {
		t.Errorf("README.md's init-redirect would exit with code 2: %v", err)
	}
	if diff := cmp.Diff(initRedirect.Shared, proxyClient.Shared); diff != "" {
		t.Errorf("README.md's two containers have different shared flags (-init-redirect +proxy-client):\n%s", diff)
	}
	// Its certificates are not on this machine. Everything else is validated.
	proxyClient.CACert, proxyClient.ClientCert, proxyClient.ClientKey = "", "", ""
	proxyClient.ProxyServer = []string{"unix:///run/konnectivity.sock"}
	if _, err := proxyClient.Config(); err != nil {
		t.Errorf("README.md's proxy-client would exit with code 2: %v", err)
	}
}

// The status page shows the flags in the order in which README.md explains them.
func TestFlagsAreInTheOrderOfTheReadme(t *testing.T) {
	var documented []string
	for _, heading := range []string{"### Both programs", "### proxy-client"} {
		_, section, _ := strings.Cut(read(t, filepath.Join(root, "README.md")), "\n"+heading+"\n")
		section, _, _ = strings.Cut(section, "\n#")
		for _, match := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)`").FindAllStringSubmatch(section, -1) {
			documented = append(documented, match[1])
		}
	}
	if diff := cmp.Diff(documented, options.NewProxyClient().Names()); diff != "" {
		t.Errorf("(-README.md +flags):\n%s", diff)
	}
}
