// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/test/cluster/alternatives"
	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
)

// wantCommandsOnlyBy expects that the token of one way, and of no other, runs a command at
// the kubelet, in a pod of another namespace. No role of the examples has pods/exec. But
// the kubelet asks for nodes/proxy only, and for get, because a WebSocket begins as a GET.
func (c *comparison) wantCommandsOnlyBy(t testing.TB, allowed alternatives.Way) {
	t.Helper()
	pod := c.rig.Shoot.AwaitOnePod(t, metav1.NamespaceDefault, "app=web", clustertest.Ready)
	want := fmt.Sprintf("hello from the shoot, pod %s\n", pod.Name)
	for _, way := range alternatives.Ways() {
		config := c.as(t, way)
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		err = client.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").Do(clustertest.Context(t)).Error()
		if !apierrors.IsForbidden(err) {
			t.Errorf("the token of %s is not refused pods/exec: %v", way, err)
		}
		out, status, err := c.execAtKubelet(clustertest.Context(t), config, pod, "web", "cat", "/www/index.html")
		switch {
		case way == allowed && (err != nil || out != want):
			t.Errorf("the token of %s runs no command at the kubelet: %q, %v", way, out, err)
		case way != allowed && status != http.StatusForbidden:
			t.Errorf("the token of %s is not forbidden to run a command at the kubelet: %q, status %d, %v", way, out, status, err)
		}
	}
}

// as returns access to the shoot with the token of a way.
func (c *comparison) as(t testing.TB, way alternatives.Way) *rest.Config {
	t.Helper()
	secret, err := c.rig.Shoot.Client.CoreV1().Secrets(examplesInShoot).Get(clustertest.Context(t), "prometheus-"+string(way), metav1.GetOptions{})
	if err == nil && len(secret.Data[corev1.ServiceAccountTokenKey]) == 0 {
		err = errors.New("it has no token")
	}
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(c.rig.Shoot.Config)
	config.BearerToken = string(secret.Data[corev1.ServiceAccountTokenKey])
	return config
}

// execAtKubelet asks the kubelet of the shoot's node to run a command in a container, from
// the node's own network. It returns the standard output, and the HTTP status of a kubelet
// that refuses.
func (c *comparison) execAtKubelet(ctx context.Context, config *rest.Config, pod *corev1.Pod, container string, command ...string) (out string, status int, err error) {
	trust, err := rest.TLSConfigFor(config)
	if err != nil {
		return "", 0, err
	}
	address := url.URL{
		Scheme: "wss", Host: shoot.Address.String() + ":10250",
		Path:     "/exec/" + pod.Namespace + "/" + pod.Name + "/" + container,
		RawQuery: url.Values{"output": {"1"}, "command": command}.Encode(),
	}
	dialer := websocket.Dialer{NetDialContext: c.rig.Shoot.Node.DialContext, TLSClientConfig: trust, Subprotocols: []string{"v4.channel.k8s.io"}}
	conn, answer, err := dialer.DialContext(ctx, address.String(), http.Header{"Authorization": {"Bearer " + config.BearerToken}})
	if err != nil {
		if answer != nil {
			status = answer.StatusCode
		}
		return "", status, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok { // the dialer's context covers the handshake only
		if err := conn.SetReadDeadline(deadline); err != nil {
			return "", answer.StatusCode, err
		}
	}
	// Each message begins with the number of its channel: 1 is the standard output.
	var text strings.Builder
	for {
		_, message, err := conn.ReadMessage()
		if websocket.IsCloseError(err, websocket.CloseNormalClosure) || errors.Is(err, io.EOF) {
			return text.String(), answer.StatusCode, nil
		}
		if err != nil {
			return text.String(), answer.StatusCode, err
		}
		if len(message) > 1 && message[0] == 1 {
			text.Write(message[1:])
		}
	}
}
