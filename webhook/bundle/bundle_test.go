// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// TestScrub: what looks like a key or a token is removed, and the text around it stays.
func TestScrub(t *testing.T) {
	for text, want := range map[string]string{
		"a\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\nb": "a\n[private key removed]\nb",
		`{"key":"-----BEGIN PRIVATE KEY-----\nMHcC\n-----END PRIVATE KEY-----\n"}`:     `{"key":"[private key removed]\n"}`,
		"-----BEGIN PRIVATE KEY-----\nMHcC":                                            "[private key removed]",
		"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----":                 "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
		"Authorization: Bearer abcdefghij":                                             "Authorization: Bearer [token removed]",
		"at eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJl.c2lnbmF0dXJl now":                    "at [token removed] now",
		"GET https://me:secret@example.com/a":                                          "GET https://[password removed]@example.com/a",
		`{"token":"abc","name":"x"}`:                                                   `{"token":"[removed]","name":"x"}`,
		"--client-password=abc --mode=grpc":                                            "--client-password=[removed] --mode=grpc",
		"DB_PASSWORD: abc":                                                             "DB_PASSWORD: [removed]",
		"secretName: ca-proxy\nsecret:\n  items: []":                                   "secretName: ca-proxy\nsecret:\n  items: []",
		`secret "ca-proxy" not found`:                                                  `secret "ca-proxy" not found`,
		"name: shoot-proxy-no-token\nmountPath: /a":                                    "name: shoot-proxy-no-token\nmountPath: /a",
		"server=vpn-proxy-server:8090 destination=[fd00::1]:443":                       "server=vpn-proxy-server:8090 destination=[fd00::1]:443",
	} {
		if got := string(scrub([]byte(text))); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// TestArchiveIsBounded: a file that is too long keeps its end, and a full archive takes no
// more.
func TestArchiveIsBounded(t *testing.T) {
	var out bytes.Buffer
	a := newArchive(&out, "bundle", time.Unix(0, 0))
	// The key is where the text is cut, so that its beginning is not there.
	const line = "a line of a log has about so many bytes, and 64 of them are here\n"
	long := strings.Repeat(line, 3*maxFile/len(line)) + "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat(line, 4) + "key\n-----END PRIVATE KEY-----\n"
	rest := maxFile + margin - 2*len(line)
	long += strings.Repeat(line, rest/len(line)) + strings.Repeat("b", rest%len(line)) + "the end"
	added := 0
	for a.add("long", []byte(long)) == nil {
		added++
	}
	if err := a.add("long", []byte(long)); !errors.Is(err, errFull) {
		t.Errorf("the error is %v", err)
	}
	if most := maxTotal / maxFile; added == 0 || added > most {
		t.Errorf("%d files of %d bytes were added", added, maxFile)
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	files := tar.NewReader(zip)
	header, err := files.Next()
	if err != nil || header.Name != "bundle/long" {
		t.Fatalf("the first file is %+v (%v)", header, err)
	}
	text, err := io.ReadAll(files)
	if err != nil || !strings.HasPrefix(string(text), "[the beginning was left out]\n") || !strings.HasSuffix(string(text), "the end") || strings.Contains(string(text), "key") {
		t.Errorf("the file has %d bytes, %.40q … (%v)", len(text), text, err)
	}
}

// TestAtomically: a file that fails half-way is not there, and one that exists stays.
func TestAtomically(t *testing.T) {
	name := filepath.Join(t.TempDir(), "b.tar.gz")
	failed := errors.New("it fails")
	if err := atomically(name, func(out io.Writer) error {
		_, _ = out.Write([]byte("half"))
		return failed
	}); !errors.Is(err, failed) {
		t.Errorf("the error is %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(name)); err != nil || len(left) > 0 {
		t.Errorf("a failure leaves %v (%v)", left, err)
	}
	write := func(text string) error {
		return atomically(name, func(out io.Writer) error {
			_, err := io.WriteString(out, text)
			return err
		})
	}
	if err := write("first"); err != nil {
		t.Fatal(err)
	}
	if err := write("second"); err == nil {
		t.Error("a file that exists is written over")
	}
	if text, err := os.ReadFile(name); err != nil || string(text) != "first" {
		t.Errorf("the file has %q (%v)", text, err)
	}
}

// TestEveryForeignFieldIsLeftOut: whatever an app's container has, its texts are not in the
// bundle, except the names. Each text of the pod is a canary.
func TestEveryForeignFieldIsLeftOut(t *testing.T) {
	const canary = "canary"
	text := func(of string) string { return canary + "-" + of }
	handler := corev1.ProbeHandler{
		Exec:    &corev1.ExecAction{Command: []string{text("probe")}},
		HTTPGet: &corev1.HTTPGetAction{Path: text("path"), HTTPHeaders: []corev1.HTTPHeader{{Name: "Authorization", Value: text("header")}}},
	}
	container := corev1.Container{
		Name: "app", Image: "registry.example/app:1", Command: []string{text("command")}, Args: []string{text("argument")}, WorkingDir: text("folder"),
		Env:           []corev1.EnvVar{{Name: "A", Value: text("value")}, {Name: "GOMEMLIMIT", Value: text("limit")}, {Name: "B", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: text("key")}}}},
		EnvFrom:       []corev1.EnvFromSource{{Prefix: text("prefix")}},
		LivenessProbe: &corev1.Probe{ProbeHandler: handler}, ReadinessProbe: &corev1.Probe{ProbeHandler: handler}, StartupProbe: &corev1.Probe{ProbeHandler: handler},
		Lifecycle: &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: handler.Exec}, PreStop: &corev1.LifecycleHandler{Exec: handler.Exec}},
	}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: text("last words")}}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "app", Annotations: map[string]string{"team.example/note": text("annotation"), "kubectl.kubernetes.io/last-applied-configuration": text("applied")},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: text("manager")}}, Finalizers: []string{text("finalizer")},
		},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{container}, Containers: []corev1.Container{container},
			EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon(container)}},
			Volumes: []corev1.Volume{
				{Name: "csi", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "csi.example", VolumeAttributes: map[string]string{"a": text("volume")}}}},
				{Name: "flex", VolumeSource: corev1.VolumeSource{FlexVolume: &corev1.FlexVolumeSource{Options: map[string]string{"a": text("flex")}}}},
				{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: text("path")}}}}}}}},
			},
		},
		Status: corev1.PodStatus{
			InitContainerStatuses: []corev1.ContainerStatus{{Name: "app", State: ended}},
			ContainerStatuses:     []corev1.ContainerStatus{{Name: "app", LastTerminationState: ended}},
		},
	}
	written, err := yaml.Marshal(pod(p, isOurs))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(written)) {
		if strings.Contains(line, canary) {
			t.Errorf("the bundle has %s", line)
		}
	}
	for _, want := range []string{"name: A", "name: B", "team.example/note: '[left out]'", "driver: csi.example"} {
		if !strings.Contains(string(written), want) {
			t.Errorf("the bundle does not have %q:\n%s", want, written)
		}
	}
}
