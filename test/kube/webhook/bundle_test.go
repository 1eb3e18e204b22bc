// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"archive/tar"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/webhook"
)

// canaries are texts that are secret, by where they are.
type canaries map[string]string

// add returns a new canary. The name says where the test puts it.
func (c canaries) add(where string) string {
	c[where] = "canary" + rand.Text()
	return c[where]
}

// testBundle: the archive has what a maintainer needs, and nothing of what is secret. The
// test first fills the cluster with secrets: in every Secret, token, variable, annotation,
// argument and ConfigMap. It then looks for each of them in each file.
func (in *installed) testBundle(t *testing.T) {
	admin, err := in.AdminKubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	namespace := in.namespace(t, "bundle", nil)
	secret := in.fill(t, namespace)
	for _, tt := range []struct {
		name string
		args []string
		run  func(*testing.T, string, ...string) (string, int)
	}{
		{"webhook", []string{"check"}, func(t *testing.T, file string, args ...string) (string, int) {
			return in.check(t, admin, append(args, "--bundle="+file)...)
		}},
		{"kubectl shoot_proxy", []string{"check", "--namespace=" + namespace}, func(t *testing.T, file string, args ...string) (string, int) {
			stdout, stderr, code := in.runPlugin(t, admin, append(args, "--bundle="+file)...)
			return stdout + stderr, code
		}},
	} {
		file := filepath.Join(t.TempDir(), "bundle.tar.gz")
		said, code := tt.run(t, file, tt.args...)
		if code == 2 || !strings.Contains(said, file+" has ") || !strings.Contains(said, "Before you send it, look through it") {
			t.Fatalf("%s: exit code %d, and it says:\n%s", tt.name, code, said)
		}
		files := unpack(t, file)
		in.wantContents(t, tt.name, namespace, files)
		for where, text := range secret {
			for name, content := range files {
				if strings.Contains(content, text) || strings.Contains(content, base64.StdEncoding.EncodeToString([]byte(text))) {
					t.Errorf("%s: file %s of the bundle has %s", tt.name, name, where)
				}
			}
		}
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		said, code = tt.run(t, file, tt.args...)
		if after, err := os.ReadFile(file); code != 2 || !strings.Contains(said, "exists, and is not overwritten") || err != nil || string(after) != string(before) {
			t.Errorf("%s: a bundle is written over another: exit code %d, %v, %s", tt.name, code, err, said)
		}
		left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".bundle-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s leaves %q (%v)", tt.name, left, err)
		}
	}
}

// fill makes objects with secrets in a namespace, and returns the secrets.
func (in *installed) fill(t *testing.T, namespace string) canaries {
	t.Helper()
	c := canaries{}
	pair := certtest.NewCA(t, "client")
	certificate, key := pair.CertPEM(), pair.KeyPEM(t)
	for name, data := range map[string]map[string][]byte{
		"proxy-client-tls": {"tls.crt": certificate, "tls.key": key, "more": []byte(c.add("a value of a Secret of ours"))},
		"other":            {"password": []byte(c.add("a value of another Secret"))},
	} {
		object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"team.example/note": c.add("an annotation of Secret " + name)}}, Data: data}
		if _, err := in.client.CoreV1().Secrets(namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c["a key"] = strings.Split(string(key), "\n")[1]
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "foreign"}, Data: map[string]string{"config.yaml": c.add("a ConfigMap of others")}}
	if _, err := in.client.CoreV1().ConfigMaps(namespace).Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "strict", Annotations: map[string]string{"team.example/note": c.add("an annotation of a NetworkPolicy")}}}
	if _, err := in.client.NetworkingV1().NetworkPolicies(namespace).Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	note := `{"metadata": {"annotations": {"team.example/note": "` + c.add("an annotation of a namespace") + `"}}}`
	if _, err := in.client.CoreV1().Namespaces().Patch(t.Context(), namespace, types.MergePatchType, []byte(note), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	note = `{"metadata": {"annotations": {"team.example/note": "` + c.add("an annotation of a node") + `"}}}`
	if _, err := in.client.CoreV1().Nodes().Patch(t.Context(), "new", types.MergePatchType, []byte(note), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := in.client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c["a token"] = token.Status.Token
	pod := labelled(nil, func(pod *corev1.Pod) {
		pod.GenerateName, pod.Name, pod.Spec.NodeName = "", "app", "new"
		pod.Annotations = map[string]string{"team.example/note": c.add("an annotation of a pod")}
		app := &pod.Spec.Containers[0]
		app.Env = []corev1.EnvVar{{Name: "PASSWORD", Value: c.add("a variable of a container")}}
		app.Args, app.Command = []string{"--token=" + c.add("an argument")}, []string{c.add("a command")}
		app.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{c.add("a probe")}}}}
		pod.Spec.InitContainers[0].Env = []corev1.EnvVar{{Name: "TOKEN", Value: c.add("a variable of an init container")}}
	})
	made, err := in.create(t, namespace, pod)
	if err != nil {
		t.Fatal(err)
	}
	if made.Annotations[webhook.AnnotationStatus] == "" {
		t.Fatal("the pod was not injected")
	}
	in.setStatus(t, made, `{"phase": "Running", "initContainerStatuses": [{"name": "init-redirect", "state": {"terminated": {"exitCode": 0}}}],
		"containerStatuses": [{"name": "app", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1, "message": "`+c.add("the last words of a container")+`"}}}]}`)
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: "app.1", Annotations: map[string]string{"team.example/note": c.add("an annotation of an event")}},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: "app"}, Reason: "Unhealthy", Type: "Warning",
		Message: "GET http://me:" + c.add("a password in an event's URL") + "@10.0.0.1/: Authorization: Bearer " + c.add("a token in an event"),
	}
	if _, err := in.client.CoreV1().Events(namespace).Create(t.Context(), event, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return c
}

// wantContents expects the files that a maintainer looks for, with what matters in them.
func (in *installed) wantContents(t *testing.T, name, namespace string, files map[string]string) {
	t.Helper()
	prefix := "namespaces/" + namespace + "/"
	for file, wants := range map[string][]string{
		"README.md":                     {"# What is in this archive"},
		"report.txt":                    {"reaches the webhook"},
		"report.json":                   {`"findings"`},
		"versions.txt":                  {"program: ", "gitVersion"},
		"nodes.yaml":                    {"kubeletVersion: v1.36.0"},
		"webhook/registration.yaml":     {"inject.shoot-proxy.io", "failurePolicy: Fail"},
		"webhook/mutating-webhooks.txt": {"inject.shoot-proxy.io"},
		prefix + "app.yaml":             {"name: init-redirect", "--shoot-pod-cidr=", "shoot-proxy.io/status", "name: PASSWORD", "team.example/note: '[left out]'", "secretName: ca-proxy"},
		prefix + "events.txt":           {"Warning Unhealthy Pod/app"},
		prefix + "namespace.txt":        {"NetworkPolicy strict", "kubernetes.io/metadata.name=" + namespace},
		"not-collected.txt":             {"app"}, // there is no kubelet to ask for logs
	} {
		for _, want := range wants {
			if !strings.Contains(files[file], want) {
				t.Errorf("%s: file %s of the bundle does not have %q:\n%.3000s", name, file, want, files[file])
			}
		}
	}
}

// unpack returns the files of an archive, by their names in its folder.
func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the bundle has mode %v (%v), want that only its owner reads it", info.Mode(), err)
	}
	zip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(zip); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		folder, name, inside := strings.Cut(header.Name, "/")
		if folder != "bundle" || !inside || slices.Contains(strings.Split(name, "/"), "..") {
			t.Errorf("the archive has %q, which is not in its folder", header.Name)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	return files
}
