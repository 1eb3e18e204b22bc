// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// extension is a pod of the shoot that extends its API: an aggregated API, and an
// admission webhook for ConfigMaps of the pod's own namespace.
type extension struct {
	namespace string // also the name of all its objects
	group     string
}

const extensionManifest = `
apiVersion: v1
kind: Pod
metadata: {name: <name>, labels: {app: extension}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers:
  - name: extension
    image: <image>
    env: [{name: NAME, value: <name>}]
    ports: [{name: https, containerPort: 8443}]
    readinessProbe:
      httpGet: {path: /apis/ready/v1, port: https, scheme: HTTPS}
      periodSeconds: 1
    volumeMounts: [{name: tls, mountPath: /tls}]
  volumes:
  - {name: tls, secret: {secretName: extension}}
---
apiVersion: v1
kind: Service
metadata: {name: <name>}
spec:
  selector: {app: extension}
  ports: [{port: 443, targetPort: https}]
`

const extensionRegistration = `
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.<group>}
spec: {group: <group>, version: v1, groupPriorityMinimum: 100, versionPriority: 100, service: {namespace: <name>, name: <name>}, caBundle: <ca>}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: <name>}
webhooks:
- name: admit.<group>
  clientConfig: {service: {namespace: <name>, name: <name>, path: /admit}, caBundle: <ca>}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: <name>}}
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
  sideEffects: None
  admissionReviewVersions: [v1]
  failurePolicy: Fail
  timeoutSeconds: 30
`

// startExtension returns once the pod is ready and registered.
func startExtension(t *testing.T, rig *clustertest.Rig) *extension {
	t.Helper()
	ctx := clustertest.Context(t)
	e := &extension{namespace: rig.Shoot.Namespace(t)}
	e.group = e.namespace + ".example"
	archives, err := image.Archives(ctx, rig.State.Binaries, image.Extension)
	if err != nil {
		t.Fatal(err)
	}
	if err := rig.Shoot.Node.Import(ctx, archives[0]); err != nil {
		t.Fatal(err)
	}
	ca, err := lab.NewAuthority(t.TempDir(), "ca")
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.Issue("extension", nil, []string{fmt.Sprintf("%s.%[1]s.svc", e.namespace)})
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "extension"}, Data: map[string][]byte{}}
	for name, path := range map[string]string{corev1.TLSCertKey: cert, corev1.TLSPrivateKeyKey: key} {
		if secret.Data[name], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := rig.Shoot.Client.CoreV1().Secrets(e.namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("<name>", e.namespace, "<group>", e.group, "<image>", image.Reference(image.Extension), "<ca>", base64.StdEncoding.EncodeToString(pem)).Replace
	rig.Shoot.Apply(t, e.namespace, fill(extensionManifest))
	rig.Shoot.AwaitPod(t, e.namespace, e.namespace, clustertest.Ready)
	// Before the namespace: a namespace cannot end while an aggregated API does not answer.
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.Limit)
		defer cancel()
		for _, path := range []string{
			"/apis/apiregistration.k8s.io/v1/apiservices/v1." + e.group,
			"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/" + e.namespace,
		} {
			if err := rig.Shoot.Client.CoreV1().RESTClient().Delete().AbsPath(path).Do(ctx).Error(); err != nil {
				t.Error(err)
			}
		}
	})
	rig.Shoot.Apply(t, e.namespace, fill(extensionRegistration))
	return e
}

// wantWord asks a kube-apiserver for an object of the aggregated API.
func (e *extension) wantWord(t *testing.T, api *clustertest.Cluster) {
	t.Helper()
	clustertest.Eventually(t, "an object of the aggregated API", func(context.Context) error {
		out, err := api.Kubectl(t, "get", "--raw", "/apis/"+e.group+"/v1/words/hello")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		var word struct {
			ServedBy string            `json:"servedBy"`
			Metadata metav1.ObjectMeta `json:"metadata"`
		}
		if err := json.Unmarshal([]byte(out), &word); err != nil || word.ServedBy != e.namespace || word.Metadata.Name != "hello" {
			return fmt.Errorf("it is %s (%w)", out, err)
		}
		return nil
	})
}

// wantAdmitted lets a kube-apiserver make an object that the webhook has to change.
func (e *extension) wantAdmitted(t *testing.T, api *clustertest.Cluster) {
	t.Helper()
	clustertest.Eventually(t, "an object that the webhook has changed", func(context.Context) error {
		out, err := api.Kubectl(t, "create", "configmap", "any", "--namespace", e.namespace, "--dry-run=server", "--output", "jsonpath={.metadata.labels.admitted-by}")
		if err == nil && out != e.namespace {
			err = fmt.Errorf("its label is %q", out)
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}
