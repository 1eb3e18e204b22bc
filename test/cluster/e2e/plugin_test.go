// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
)

// plugin is kubectl with the plugin of the release on its PATH.
type plugin struct {
	rig       *clustertest.Rig
	namespace string
	variables []string
}

// newPlugin installs the plugin as docs/install.md says.
func newPlugin(t *testing.T, rig *clustertest.Rig, namespace string) *plugin {
	t.Helper()
	home := t.TempDir()
	release := releaseFolder(t)
	if runtime.GOARCH == "amd64" { // the document's
		newReader(t, rig, release, home).follow(t, "docs/install.md", "kubectl's plugin")
	} else {
		t.Logf("docs/install.md is for amd64, and this machine is %s", runtime.GOARCH)
		err := os.Mkdir(filepath.Join(home, "bin"), 0o755)
		if err == nil {
			err = os.Symlink(filepath.Join(release, "bin", "kubectl-shoot_proxy-linux-"+runtime.GOARCH), filepath.Join(home, "bin", "kubectl-shoot_proxy"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return &plugin{rig: rig, namespace: namespace, variables: append(os.Environ(),
		"PATH="+filepath.Join(home, "bin")+":"+filepath.Join(rig.State.Binaries, "kube"), "KUBECONFIG="+rig.Seed.Kubeconfig, "KUBECACHEDIR="+filepath.Join(home, "cache"))}
}

// command returns `kubectl shoot_proxy`.
func (p *plugin) command(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(clustertest.Context(t), filepath.Join(p.rig.State.Binaries, "kube", "kubectl"), append([]string{"shoot_proxy"}, args...)...)
	cmd.Env = p.variables
	return cmd
}

// run runs `kubectl shoot_proxy` with the namespace.
func (p *plugin) run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := p.command(t, append([]string{args[0], "--namespace=" + p.namespace}, args[1:]...)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errOut.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), 0
}

// want runs `kubectl shoot_proxy`, and expects an exit code and texts in what it writes.
func (p *plugin) want(t *testing.T, code int, texts []string, args ...string) (stdout string) {
	t.Helper()
	stdout, stderr, got := p.run(t, args...)
	if got != code {
		t.Errorf("%q ends with exit code %d, want %d:\n%s%s", args, got, code, stdout, stderr)
	}
	for _, text := range texts {
		if !strings.Contains(stdout+stderr, text) {
			t.Errorf("%q does not say %q:\n%s%s", args, text, stdout, stderr)
		}
	}
	return stdout
}

// TestKubectlPlugin asks real sidecars through kubectl: one that works, one that does not
// start, and one that may not be asked. It looks at a pod's rules and at its status page,
// and writes a bundle.
func TestKubectlPlugin(t *testing.T) {
	t.Parallel()
	rig, namespace := withWebhook(t)
	p := newPlugin(t, rig, namespace)
	address := targets(clustertest.Context(t), t, rig)["a pod"]
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	secret := "canary" + rand.Text()
	app := clientPod("app", true)
	app.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PASSWORD", Value: secret}}
	app.Spec.Containers[0].Command = []string{"sh", "-c", "echo $PASSWORD; sleep infinity"}
	create(t, rig.Seed, namespace, app)
	create(t, rig.Seed, namespace, clientPod("plain", false))
	crash := newInjector(t, rig).pod(t, clientPod("crash", true), "nft")
	for i := range crash.Spec.InitContainers {
		if c := &crash.Spec.InitContainers[i]; c.Name == proxyClient {
			c.Args = append(c.Args, "--mode=carrier-pigeon")
		}
	}
	create(t, rig.Seed, namespace, crash)
	pod := rig.Seed.AwaitPod(t, namespace, "app", clustertest.Ready)

	t.Run("check", func(t *testing.T) {
		reached := p.want(t, 0, []string{address}, "check", "app", address)
		steps := regexp.MustCompile(`(?m)^(ok|warning|failure|skipped) +[a-z]+`)
		direct := rig.Seed.Exec(t, pod, proxyClient, "/proxy-client", "check", address)
		if got, want := steps.FindAllString(reached, -1), steps.FindAllString(direct, -1); len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("the plugin prints\n%s\nand the sidecar\n%s", reached, direct)
		}
		p.want(t, 1, []string{net.JoinHostPort(host, "9"), "refused"}, "check", "app", net.JoinHostPort(host, "9"))
		p.want(t, 2, []string{"--dial-timeout"}, "check", "app", "--", "--dial-timeout=soon")
		var report map[string]any
		if text := p.want(t, 0, nil, "check", "app", address, "--output=json"); json.Unmarshal([]byte(text), &report) != nil {
			t.Errorf("--output=json prints\n%s", text)
		}
		p.want(t, 1, []string{`pod "plain"`, "has no sidecar, and no label shoot-proxy.io/inject"}, "check", "plain")
	})
	t.Run("a proxy that knows no WebSockets", func(t *testing.T) {
		kubeconfig := p.behindOldProxy(t)
		p.want(t, 0, []string{address}, "check", "app", address, "--kubeconfig="+kubeconfig)
		p.openPage(t, "--kubeconfig="+kubeconfig)
	})
	t.Run("a sidecar that does not start", func(t *testing.T) {
		rig.Seed.AwaitPod(t, namespace, "crash", func(pod *corev1.Pod) error {
			for _, s := range pod.Status.InitContainerStatuses {
				if s.Name == proxyClient && s.LastTerminationState.Terminated != nil && s.State.Running == nil {
					return nil
				}
			}
			return errors.New("its sidecar has not ended yet")
		})
		p.want(t, 1, []string{`the sidecar of pod "crash"`, "exit code 2", `carrier-pigeon`}, "check", "crash")
		p.want(t, 0, []string{"PROXY_CLIENT_REDIRECT"}, "dump", "crash") // the rules are there
		p.askAll(t)
	})
	t.Run("no right to run programs", func(t *testing.T) {
		p.allowToRead(t, "reader")
		p.want(t, 1, []string{"you may not run a program in container proxy-client", "pods/exec", "kubectl --namespace " + namespace + " exec app"}, "check", "app", "--as=reader")
		p.want(t, 1, []string{"you may not add a container to pod", "pods/ephemeralcontainers"}, "dump", "app", "--as=reader")
		p.want(t, 1, []string{"you may not connect to port 14000", "pods/portforward"}, "page", "app", "--port=0", "--as=reader")
		p.want(t, 1, []string{"you may not read pod"}, "check", "app", "--as=stranger")
	})
	t.Run("dump", func(t *testing.T) {
		p.want(t, 0, []string{"PROXY_CLIENT_REDIRECT"}, "dump", "app")
		p.want(t, 0, []string{"It is redirected to 127.0.0.1:14001"}, "dump", "app", "--", "--to="+address)
	})
	t.Run("page", func(t *testing.T) { p.openPage(t) })
	t.Run("shoot", func(t *testing.T) {
		stdout, stderr, code := p.run(t, "check", "--output=json", "--shoot-kubeconfig="+rig.Shoot.Kubeconfig)
		var report struct {
			Findings []struct{ Check, Status, Message string }
		}
		if err := json.Unmarshal([]byte(stdout), &report); err != nil {
			t.Fatalf("exit code %d, %v: %s", code, err, stderr)
		}
		wanted := map[string]bool{"shoot-agents": true, "shoot-nodes": true, "shoot-pods": true, "shoot-services": true}
		for _, f := range report.Findings {
			// A test beside this one may restart the agents.
			if strings.HasPrefix(f.Check, "shoot-") && f.Check != "shoot-agents" && f.Status != "ok" {
				t.Errorf("%s: %s %s", f.Check, f.Status, f.Message)
			}
			delete(wanted, f.Check)
		}
		if len(wanted) > 0 {
			t.Errorf("nothing is said of %v", wanted)
		}
	})
	t.Run("bundle", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "bundle.tar.gz")
		_, said, code := p.run(t, "check", "--bundle="+file, "--shoot-kubeconfig="+rig.Shoot.Kubeconfig)
		if code == 2 || !strings.Contains(said, file+" has ") {
			t.Fatalf("exit code %d: %s", code, said)
		}
		files := filesOf(t, file)
		t.Logf("not collected: %s", files["not-collected.txt"])
		p.checkBundle(t, files, secret)
	})
}

// allowToRead lets a user read the pods of the namespace, and nothing else.
func (p *plugin) allowToRead(t *testing.T, user string) {
	t.Helper()
	roles := p.rig.Seed.Client.RbacV1()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list"}}}}
	if _, err := roles.Roles(p.namespace).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
	if _, err := roles.RoleBindings(p.namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// askAll asks all sidecars of the namespace. The answers of one that works and one that does
// not are told apart, and the exit code is that of the worse one.
func (p *plugin) askAll(t *testing.T) {
	t.Helper()
	var answers []struct {
		Pod      string
		ExitCode int
		Error    string
		Report   struct{ Verdict string }
	}
	text := p.want(t, 1, nil, "check", "--all-pods", "--output=json")
	if err := json.Unmarshal([]byte(text), &answers); err != nil || len(answers) != 2 {
		t.Fatalf("%d answers, %v:\n%s", len(answers), err, text)
	}
	if app := answers[0]; app.Pod != "app" || app.ExitCode != 0 || app.Report.Verdict == "" {
		t.Errorf("the first answer is %+v", app)
	}
	if crash := answers[1]; crash.Pod != "crash" || crash.ExitCode != 1 || !strings.Contains(crash.Error, "exit code 2") {
		t.Errorf("the second answer is %+v", crash)
	}
}

// behindOldProxy returns a kubeconfig file that leads to the seed's API server through a
// proxy. It passes on SPDY, and refuses WebSockets. At the end of the test it has refused
// some.
func (p *plugin) behindOldProxy(t *testing.T) (kubeconfig string) {
	t.Helper()
	seed := p.rig.Seed.Config
	server, err := url.Parse(seed.Host)
	if err != nil {
		t.Fatal(err)
	}
	config, err := rest.TLSConfigFor(seed)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(server)
	forward.Transport = &http.Transport{TLSClientConfig: config} // without HTTP/2, which has no upgrades
	var refused atomic.Int64
	proxy := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			refused.Add(1)
			http.Error(w, "no WebSockets here", http.StatusBadRequest)
			return
		}
		r.Host = server.Host
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		proxy.CloseClientConnections()
		proxy.Close()
		if refused.Load() == 0 {
			t.Error("no WebSocket was tried")
		}
	})
	access := api.NewConfig()
	access.Clusters["seed"] = &api.Cluster{Server: proxy.URL, InsecureSkipTLSVerify: true}
	access.AuthInfos["admin"] = &api.AuthInfo{Token: seed.BearerToken}
	access.Contexts["seed"] = &api.Context{Cluster: "seed", AuthInfo: "admin"}
	access.CurrentContext = "seed"
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*access, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// openPage opens the status page, as a browser would, and ends the plugin with Ctrl-C.
func (p *plugin) openPage(t *testing.T, args ...string) {
	t.Helper()
	cmd := p.command(t, append([]string{"page", "app", "--namespace=" + p.namespace, "--port=0"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 1000)
	n, err := out.Read(said)
	page := regexp.MustCompile(`http://127\.0\.0\.1:\d+/`).FindString(string(said[:n]))
	if err != nil || page == "" {
		t.Fatalf("it says %q (%v), and %s", said[:n], err, errOut.String())
	}
	answer, err := http.Get(page)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(body), "<html") {
		t.Errorf("the page is %s (%v): %.300s", answer.Status, err, body)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v, %s", err, errOut.String())
	}
}
