// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/cluster"
)

// withoutGreeting leaves out the first line.
func withoutGreeting(told string) string {
	_, rest, _ := strings.Cut(told, "\n")
	return rest
}

// checkWhatIsTold compares what up prints with the clusters.
func checkWhatIsTold(t *testing.T, state *cluster.State, told string) {
	t.Helper()
	want := fmt.Sprintf("export SEED_KUBECONFIG=%s SHOOT_KUBECONFIG=%s\n", state.SeedKubeconfig, state.ShootKubeconfig)
	var forShell strings.Builder
	var commands []string
	for line := range strings.Lines(told) {
		if !strings.HasPrefix(line, "#") {
			forShell.WriteString(line)
		}
		if command := strings.TrimLeft(line, "# "); strings.HasPrefix(command, filepath.Join(state.Binaries, "kube", "kubectl")+" ") {
			commands = append(commands, command)
		}
		for word := range strings.FieldsSeq(line) {
			if path := strings.Trim(word, ",."); strings.HasPrefix(path, filepath.Dir(state.SeedKubeconfig)) {
				if _, err := os.Stat(path); err != nil {
					t.Errorf("up names a file that is not there: %v", err)
				}
			}
		}
	}
	if forShell.String() != want {
		t.Errorf("a shell gets %q, want %q", forShell.String(), want)
	}

	kubectl := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(within(t), filepath.Join(state.Binaries, "kube", "kubectl"), append([]string{"--kubeconfig", state.SeedKubeconfig}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("kubectl %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	ports := kubectl("--namespace=shoot", "get", "service", "konnectivity-server", `--output=jsonpath={range .spec.ports[*]}{.port}  {.name}{"\n"}{end}`)
	if strings.Count(ports, "\n") != strings.Count(told, "svc:") || ports == "" {
		t.Errorf("up tells of other ports than the Service has:\n%s", ports)
	}
	for port := range strings.Lines(ports) {
		if line := "#   konnectivity-server.shoot.svc:" + port; !strings.Contains(told, line) {
			t.Errorf("up does not tell %q", line)
		}
	}
	for _, podIP := range strings.Fields(kubectl("get", "nodes", "--output=jsonpath={.items[*].status.addresses[0].address}")) {
		if !strings.Contains(told, "Seed: node "+podIP+",") {
			t.Errorf("up does not tell the address %s of the seed's node", podIP)
		}
	}

	if len(commands) != 2 {
		t.Errorf("up tells the commands %q, want one for each Secret", commands)
	}
	for _, command := range commands {
		if out, err := exec.CommandContext(within(t), "bash", "-c", command).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	for secret, keys := range map[string]string{"ca-proxy": "ca.crt", "proxy-client-tls": "tls.crt tls.key"} {
		got := kubectl("get", "secret", secret, `--output=go-template={{range $key, $value := .data}}{{$key}} {{end}}`)
		if strings.TrimSpace(got) != keys {
			t.Errorf("Secret %s has the keys %q, want %q", secret, got, keys)
		}
	}
	_, images, _ := strings.Cut(told, "# Images ")
	images, _, _ = strings.Cut(images, "#\n")
	for line := range strings.Lines(withoutGreeting(images)) {
		if !regexp.MustCompile(`^#   \S+/\S+:\S+\n$`).MatchString(line) {
			t.Errorf("up tells of an image %q, which has no name and tag", line)
		}
	}
	for image := range strings.FieldsSeq(kubectl("--namespace=kube-system", "get", "pods", "--output=jsonpath={.items[*].spec.containers[*].image}")) {
		if !strings.Contains(told, "#   "+image+"\n") {
			t.Errorf("up does not tell of image %s, which runs", image)
		}
	}
}
