// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/inspect"
)

// account makes a ServiceAccount, and returns its token.
func (in *inspected) account(t testing.TB, name string) string {
	t.Helper()
	accounts := in.system.client.CoreV1().ServiceAccounts(monitored)
	if _, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	request, err := accounts.CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// testInspectRights: the documented ClusterRole is enough. A user without any right gets
// a report of what was left out, and never that all is well.
func (in *inspected) testInspectRights(t *testing.T) {
	token := in.account(t, "inspector")
	roles := manifestsIn(t, "../../../docs/install.md", "kind: ClusterRole\nmetadata: {name: shoot-proxy-inspector}")
	in.applyAll(t, roles)
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "inspector"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "shoot-proxy-inspector"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "inspector", Namespace: monitored}},
	}
	if _, err := in.system.client.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rights to be known", func(context.Context) error {
		if got := blamed(in.inspect(t, as(in, token))); len(got) > 0 {
			return fmt.Errorf("with the documented rights these are blamed: %q", got)
		}
		return nil
	})
	for name, namespaces := range map[string][]string{"no rights": nil, "no rights in one namespace": {monitored}} {
		r := in.inspect(t, as(in, in.account(t, "nobody-"+strconv.Itoa(len(namespaces)))), func(c *inspect.Config) { c.Namespaces = namespaces })
		if code := r.ExitCode(); code != 3 {
			t.Errorf("%s: exit code %d, want 3", name, code)
		}
		for _, f := range r.Findings {
			if f.Status != inspect.Skipped || f.Check != "right" {
				t.Errorf("%s: %s %s: %s", name, f.Status, f.Check, f.Message)
			}
		}
		compareGolden(t, strings.ReplaceAll(name, " ", "-"), r.Findings, r)
	}
}

func as(in *inspected, token string) func(*inspect.Config) {
	return func(c *inspect.Config) { c.Cluster = in.Config(token) }
}

// manifestsIn returns the documents in the block of a document that has a text.
func manifestsIn(t testing.TB, path, text string) manifests {
	t.Helper()
	for _, block := range strings.Split(string(read(t, path)), "```") {
		if body, ok := strings.CutPrefix(block, "yaml\n"); ok && strings.Contains(body, text) {
			return parse(t, path, []byte(body))
		}
	}
	t.Fatalf("%s has no block with %q", path, text)
	return nil
}

// testInspectCommand: `webhook check` prints the report, and its exit code says how it
// is.
func (in *inspected) testInspectCommand(t *testing.T) {
	admin, err := in.AdminKubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	run := func(wantCode int, args ...string) string {
		t.Helper()
		in.heartbeat(t)
		said, code := in.check(t, admin, append([]string{"check"}, args...)...)
		in.written.WriteString(said)
		if code != wantCode {
			t.Errorf("webhook check %s ends with exit code %d, want %d: %s", args, code, wantCode, said)
		}
		return said
	}
	if said := run(0); !strings.HasSuffix(said, "\nall well\n") {
		t.Errorf("the last line is not the verdict: %s", said)
	}
	var report inspect.Report
	if err := json.Unmarshal([]byte(run(0, "--output=json", "--namespace="+monitored)), &report); err != nil {
		t.Error(err)
	}
	if report.Verdict != "all well" || !slices.Equal(report.Namespaces, []string{monitored}) || len(report.Shoots) != 1 {
		t.Errorf("the report in JSON is %+v", report)
	}
	remove := in.deployment(t, deployment("web", map[string]string{webhook.Label: "true"}, nil))
	if said := run(3); !strings.Contains(said, "\nno failure, 1 warning. First: Deployment monitoring/web: put the label into its pod template\n") {
		t.Errorf("the verdict is another: %s", said)
	}
	remove()
	in.putSecret(t, monitored, "proxy-client-tls", map[string][]byte{corev1.TLSCertKey: in.client.CertPEM()})
	if said := run(1); !strings.Contains(said, "Secret monitoring/proxy-client-tls: It lacks the key tls.key.") {
		t.Errorf("the missing key is not named: %s", said)
	}
	in.putSecret(t, monitored, "proxy-client-tls", in.pairData(t, in.client))
	run(1, "--namespace=nowhere")
}

// testInspectPages: a report is the same if the objects come one at a time.
func (in *inspected) testInspectPages(t *testing.T) {
	in.pod(t, "second", labelled(nil))
	defer in.deletePod(t, monitored, "second")
	var texts [2]strings.Builder
	for i, size := range []int64{0, 1} {
		r := in.inspect(t, func(c *inspect.Config) { c.PageSize = size })
		if err := r.WriteText(&texts[i]); err != nil {
			t.Fatal(err)
		}
	}
	if texts[0].String() != texts[1].String() || !strings.Contains(texts[0].String(), "2 pods with the label are injected") {
		t.Errorf("in pages of one object the report is\n%s\nand otherwise\n%s", texts[1].String(), texts[0].String())
	}
}

// testInspectMany: many pods with the same result are one finding. With INSPECT_PODS=1000
// in the environment the test's log says what their inspection takes.
func (in *inspected) testInspectMany(t *testing.T) {
	n := 20
	if text := os.Getenv("INSPECT_PODS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	var tasks sync.WaitGroup
	names := make(chan string)
	for range 8 {
		tasks.Go(func() {
			for name := range names {
				pod := labelled(nil)
				pod.GenerateName, pod.Name = "", name
				if _, err := in.system.client.CoreV1().Pods(monitored).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		names <- "many-" + strconv.Itoa(i)
	}
	close(names)
	tasks.Wait()
	admin, err := in.AdminKubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	in.heartbeat(t)
	cmd := exec.CommandContext(t.Context(), in.webhook, "check", "--kubeconfig="+admin)
	begin := time.Now()
	out, err := cmd.Output()
	t.Logf("%d pods: %s, processor time %s, %d KiB of memory", n, time.Since(begin).Round(time.Millisecond), cmd.ProcessState.UserTime(), maxMemory(cmd))
	if want := fmt.Sprintf("%d injected pods have what the webhook gives today.", n+1); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v, and not %q in %s", err, want, out)
	}
	remove := in.configMap(t, "shoot: {podCIDRs: [100.64.0.0/11]}")
	defer remove()
	r := in.inspect(t)
	if got := blamed(r); !slices.Equal(got, []string{"warning pod-outdated"}) {
		t.Errorf("it blames %q", got)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("and %d more", n+1-5); !strings.Contains(text.String(), want) {
		t.Errorf("the text does not say %q: %s", want, text.String())
	}
}

// maxMemory returns the most memory that a process has had, in KiB.
func maxMemory(cmd *exec.Cmd) int64 {
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return usage.Maxrss
}
