// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// connected is what Node.js says about one stream to an exit.
type connected struct {
	To          string `json:"to"`
	Status      int    `json:"status"`
	ProxyStatus string `json:"proxyStatus"`
	Bytes       int64  `json:"bytes"`
	Text        string `json:"text"`
	Reset       int    `json:"reset"`
}

// connectError is the code of a stream whose target was reset (RFC 9113, 7 and 8.5).
const connectError = 10

// TestAnExitServesNode: Node.js, which knows nothing of us, is a client of an exit. It has
// streams with an answer, with a half-close, with megabytes in both directions, with a
// reset, and refused ones, all of them on one connection.
func TestAnExitServesNode(t *testing.T) {
	t.Parallel()
	r := newBareExitRig(t, lab.Options{})
	const size = 8 << 20
	at := func(port int) string { return net.JoinHostPort(lab.ShootPod(lab.IPv4, 1).String(), strconv.Itoa(port)) }
	at6 := net.JoinHostPort(lab.ShootPod(lab.IPv6, 1).String(), strconv.Itoa(target.SpeakFirstPort))
	outside := net.JoinHostPort(lab.Outside(lab.IPv4).String(), "80")
	want := []connected{
		{To: at(target.SpeakFirstPort), Status: 200, Bytes: int64(len(target.Banner)), Text: target.Banner},
		{To: at6, Status: 200, Bytes: int64(len(target.Banner)), Text: target.Banner},
		{To: at(target.AfterEOFPort), Status: 200, Bytes: 26, Text: fmt.Sprintf("got %d bytes and EOF\n", size)},
		{To: at(target.EchoPort), Status: 200, Bytes: size, Text: strings.Repeat("u", 200)},
		{To: at(target.ResetPort), Status: 200, Bytes: int64(len(target.Banner)), Text: target.Banner, Reset: connectError},
		{To: at(target.ClosedPort), Status: 502, ProxyStatus: "connection_refused"},
		{To: outside, Status: 403, ProxyStatus: "destination_ip_prohibited"},
	}
	got := r.askAsNode(t, r.ExitCerts.ClientCert, r.ExitCerts.ClientKey,
		request{To: at(target.SpeakFirstPort)},
		request{To: at6},
		request{To: at(target.AfterEOFPort), Upload: size},
		request{To: at(target.EchoPort), Upload: size},
		request{To: at(target.ResetPort), Send: "!"},
		request{To: at(target.ClosedPort)},
		request{To: outside},
	)
	for i := range got {
		// Only the error is ours to choose; the rest of the field is free.
		if _, rest, ok := strings.Cut(got[i].ProxyStatus, "error="); ok {
			got[i].ProxyStatus, _, _ = strings.Cut(rest, ";")
		}
		if got[i].Status != 200 { // an explanation for people
			got[i].Bytes, got[i].Text = 0, ""
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what Node.js got from the exit (-want +got):\n%s", diff)
	}
}

// request is what connect-client.mjs asks for.
type request struct {
	To     string `json:"to"`
	Send   string `json:"send,omitempty"`
	Upload int64  `json:"upload,omitempty"`
}

// askAsNode runs these requests at once on one connection to the exit, in the shoot.
func (r *rig) askAsNode(t *testing.T, cert, key string, requests ...request) []connected {
	t.Helper()
	args := []string{
		r.script(t, "connect-client.mjs"), "https://" + r.Exits[0].Address(), r.ExitCerts.CA, cert, key, lab.ExitName,
	}
	for _, q := range requests {
		text, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, string(text))
	}
	// Node.js ends when the exit has closed the connection that Node.js has ended.
	result, err := r.Shoot.Run(labtest.Context(t, 25*time.Second), lab.Command{Path: "node", Args: args})
	if err != nil {
		t.Fatal(err)
	}
	var got []connected
	for lines := json.NewDecoder(strings.NewReader(result.Stdout)); ; {
		var one connected
		err := lines.Decode(&one)
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatalf("%v: %s", err, result.Stdout)
		}
		got = append(got, one)
	}
}

// script returns the path of a script of testdata. The lab's users can read the copy.
func (r *rig) script(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.Dir, name)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestASidecarUsesNodeAsItsExit: a CONNECT server that is nothing but Node.js serves the
// sidecar as our exit does: all kinds of addresses, half-closes, uploads and downloads, a
// refused target.
func TestASidecarUsesNodeAsItsExit(t *testing.T) {
	t.Parallel()
	r := newBareExitRig(t, lab.Options{})
	r.apply(t)
	r.start(t, r.ExitFlags("--exit="+r.startNodeExit(t))...)
	r.testKinds(t)
	r.testHalfClose(t)
	r.testAnswerAfterEOF(t)
	before := r.metrics(t)
	r.wantReset(t, lab.ShootPod(lab.IPv4, 1), target.ClosedPort, hang)
	r.wantCounted(t, "proxy_client_dial_failures_total", before, "refused")
	r.testBothWays(t)
	r.wantNoStreams(t)
}

// startNodeExit starts a CONNECT server on Node.js in the shoot, in the place of ours, and
// returns its address.
func (r *rig) startNodeExit(t *testing.T) string {
	t.Helper()
	r.Exits[0].Kill()
	host, port, err := net.SplitHostPort(r.Exits[0].Address())
	if err != nil {
		t.Fatal(err)
	}
	node, err := r.Shoot.Start("node-exit", lab.Command{Path: "node", UID: lab.ExitUID, Args: []string{
		r.script(t, "connect-server.mjs"), host, port, r.ExitCerts.CA, r.ExitCerts.Cert, r.ExitCerts.Key,
	}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "Node.js to listen", func(context.Context) error {
		if log := node.Log(); !strings.Contains(log, "ready") {
			return fmt.Errorf("it says %q", log)
		}
		return nil
	})
	return r.Exits[0].Address()
}
