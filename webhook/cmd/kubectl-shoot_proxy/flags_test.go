// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/program"
)

// outcome runs the program with a kubeconfig of its own, or with none.
func outcome(t *testing.T, kubeconfig string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	folder := t.TempDir()
	t.Setenv("HOME", folder)
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBECONFIG", "")
	if kubeconfig != "" {
		path := filepath.Join(folder, "config")
		if err := os.WriteFile(path, []byte(kubeconfig), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("KUBECONFIG", path)
	}
	var out, errOut strings.Builder
	code = run(environment{args: args, stdout: &out, stderr: &errOut, version: "v1.2.3"})
	return code, out.String(), errOut.String()
}

// usable is a kubeconfig that names a server that does not exist.
const usable = `apiVersion: v1
kind: Config
clusters: [{name: seed, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: me, user: {token: t}}]
contexts: [{name: seed, context: {cluster: seed, user: me, namespace: monitoring}}, {name: other, context: {cluster: none, user: me}}]
current-context: seed
`

// TestBadInput: bad flags, and kubeconfigs that cannot be used, give one sentence that says
// what to do, and exit code 2. No cluster is asked.
func TestBadInput(t *testing.T) {
	for _, tt := range []struct {
		name, kubeconfig, want string
		args                   []string
	}{
		{"no command", usable, "a command is missing: run 'kubectl shoot_proxy --help'", nil},
		{"misspelt command", usable, `"chekc" is not a command of kubectl shoot_proxy: did you mean check?`, []string{"chekc"}},
		{"misspelt flag", usable, "--namspace is not a flag of kubectl shoot_proxy check: did you mean --namespace?", []string{"check", "--namspace=a"}},
		{"bad namespace", usable, `--namespace "A" is not a namespace's name`, []string{"check", "-n", "A"}},
		{"bad namespace of a pod", usable, `--namespace "A" is not a namespace's name`, []string{"dump", "app", "-n", "A"}},
		{"several namespaces of a pod", usable, `--namespace "a,b" has several namespaces, and a pod is in one`, []string{"check", "app", "-n", "a,b"}},
		{"bad output", usable, `--output "yaml" is not known: write text or json`, []string{"check", "-o", "yaml"}},
		{"no time", usable, `--timeout "0s" is not between`, []string{"check", "--timeout=0s"}},
		{"watch without a pod", usable, "--watch is for the sidecar of a pod: name a POD", []string{"check", "--watch"}},
		{"a bundle of a pod", usable, "--bundle is for the installation as a whole", []string{"check", "app", "--bundle=" + filepath.Join(t.TempDir(), "b.tar.gz")}},
		{"a target that is none", usable, `the target "nonsense" has no port: write it like 10.250.0.4:10250`, []string{"check", "app", "nonsense"}},
		{"the second target is none", usable, `the target "https://a.b:443" is not HOST:PORT`, []string{"check", "app", "10.250.0.4:1", "https://a.b:443"}},
		{"a pod where all arguments are targets", usable, `the target "app" has no port`, []string{"check", "--all-pods", "app"}},
		{"a target that is none, and flags", usable, `the target "nonsense" has no port`, []string{"check", "app", "nonsense", "--", "--mode=grpc"}},
		{"an empty bundle", usable, "--bundle is empty: write a file's name", []string{"check", "--bundle="}},
		{"a bundle of another kind", usable, "write a name that ends in .tar.gz", []string{"check", "--bundle=" + filepath.Join(t.TempDir(), "b.zip")}},
		{"a bundle that exists", usable, "exists, and is not overwritten", []string{"check", "--bundle=" + t.TempDir()}},
		{"a bundle in no folder", usable, "is in a folder that does not exist", []string{"check", "--bundle=/none/there/b.tar.gz"}},
		{"no shoot's kubeconfig", usable, `--shoot-kubeconfig "/none" cannot be read: there is no such file`, []string{"check", "--shoot-kubeconfig=/none"}},
		{"no pod to dump", usable, "a pod is missing: write 'kubectl shoot_proxy dump POD'", []string{"dump"}},
		{"no pod to dump, but flags", usable, "a pod is missing", []string{"dump", "--", "--to=10.0.0.1:1"}},
		{"a connection to nothing", usable, `--to "nonsense" is not an IP address and a port: write them as 100.64.3.7:9100`, []string{"dump", "app", "--", "--to", "nonsense"}},
		{"a source of no connection", usable, `--from "10.0.0.1" is about a connection that --to names`, []string{"dump", "app", "--", "--from=10.0.0.1"}},
		{"a misspelt flag of dump", usable, "--explian is not a flag of init-redirect dump: did you mean --explain?", []string{"dump", "app", "--", "--explian"}},
		{"a word that is no flag of dump", usable, `"100.64.3.7:9100" is no flag: write flags of init-redirect dump behind --, such as --to 100.64.3.7:9100`, []string{"dump", "app", "--", "100.64.3.7:9100"}},
		{"help of dump", usable, "--help would need a container in the pod: 'kubectl shoot_proxy dump --help'", []string{"dump", "app", "--", "--help"}},
		{"rates without an end", usable, "--watch would go on in the pod after this command: ", []string{"dump", "app", "--", "--watch"}},
		{"two pods to dump", usable, `"b" is one too many`, []string{"dump", "a", "b"}},
		{"no pod for a page", usable, "a pod is missing: write 'kubectl shoot_proxy page POD'", []string{"page"}},
		{"a port that is none", usable, `--port "70000" is no port`, []string{"page", "app", "--port=70000"}},
		{"no kubeconfig", "", "no kubeconfig names a cluster, in $KUBECONFIG or ~/.kube/config: log in to the cluster, or name a file with --kubeconfig", []string{"check"}},
		{"a kubeconfig of nothing", "{}", `/config": log in to the cluster, or name a file with --kubeconfig`, []string{"check"}},
		{"no such kubeconfig", "", `--kubeconfig "/none" cannot be read: there is no such file`, []string{"check", "--kubeconfig=/none"}},
		{"an empty name of a kubeconfig", usable, "--kubeconfig is empty", []string{"check", "--kubeconfig="}},
		{"no kubeconfig at all", "not: [one", "the kubeconfig cannot be read", []string{"check"}},
		{"misspelt context", usable, `--context "sed" is not in the kubeconfig: did you mean seed?`, []string{"check", "--context=sed"}},
		{"unknown context", usable, `--context "elsewhere" is not in the kubeconfig: there are other, seed`, []string{"check", "--context=elsewhere"}},
		{"unknown user", usable, `--user "you-there" is not in the kubeconfig: there are me`, []string{"check", "--user=you-there"}},
		{"a context without a cluster", usable, `the kubeconfig's context "other" cannot be used`, []string{"check", "--context=other"}},
		{"no current context", strings.Replace(usable, "current-context: seed", "", 1), "the kubeconfig has no current context: name one with --context, of other, seed", []string{"check"}},
		{"a current context that is gone", strings.Replace(usable, "current-context: seed", "current-context: gone", 1), `current context "gone" is not in it: name one with --context, of other, seed`, []string{"check"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := outcome(t, tt.kubeconfig, tt.args...)
			if code != program.Usage || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, output %q, and %q; want one line with %q", code, stdout, stderr, tt.want)
			}
		})
	}
}

// TestNoAPIServer: if no API server answers, the sentence says which was asked.
func TestNoAPIServer(t *testing.T) {
	for _, args := range [][]string{{"check", "app"}, {"dump", "app"}, {"page", "app"}, {"check", "deployment/app"}, {"check", "--all-pods"}, {"check", "app", "10.250.0.4:1", "--", "--mode", "grpc"}} {
		code, stdout, stderr := outcome(t, usable, args...)
		if code != program.Failed || stdout != "" || !strings.Contains(stderr, "the API server https://127.0.0.1:1 does not answer: check that 'kubectl version' reaches it") {
			t.Errorf("%q: exit code %d, output %q, and %q", args, code, stdout, stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	code, stdout, stderr := outcome(t, "", "version")
	if code != 0 || stdout != "kubectl-shoot_proxy v1.2.3\n" || stderr != "" {
		t.Errorf("exit code %d, output %q, and %q", code, stdout, stderr)
	}
}

func TestHelp(t *testing.T) {
	code, stdout, stderr := outcome(t, "", "check", "--help")
	for _, want := range []string{"kubectl shoot_proxy check [POD [HOST:PORT…]]", "--shoot-kubeconfig", "--bundle", "--context", "-n, --namespace", "--all-pods"} {
		if code != 0 || stderr != "" || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d, and %q; the help does not have %q:\n%s", code, stderr, want, stdout)
		}
	}
}

// TestOlderSidecar: a program of ours that has no command check is recognized, and other bad
// input is not taken for one.
func TestOlderSidecar(t *testing.T) {
	for command, want := range map[string]bool{"check": true, "wait": false} {
		root := &cobra.Command{Use: "proxy-client", Args: commandline.NoArguments, RunE: func(*cobra.Command, []string) error { return nil }}
		root.AddCommand(&cobra.Command{Use: "wait", Args: commandline.NoArguments, RunE: root.RunE})
		commandline.Prepare(root)
		root.SetArgs([]string{command, "10.250.0.4:10250"})
		err := root.Execute()
		if err == nil {
			t.Fatalf("%s is accepted", command)
		}
		said := commandline.Sentence("proxy-client", err) + "\n"
		if got := isOlder(program.Usage, said); got != want {
			t.Errorf("%s: got %v for %q", command, got, said)
		}
	}
}
