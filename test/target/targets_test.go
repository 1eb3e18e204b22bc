// SPDX-License-Identifier: Apache-2.0

package target_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/target"
)

func TestPatternWriterFindsTheFirstWrongByte(t *testing.T) {
	var pattern bytes.Buffer
	if _, err := io.CopyN(&pattern, target.Pattern(), 1000); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(pattern.Bytes())
	if got, want := target.PatternHash(1000), hex.EncodeToString(sum[:]); got != want {
		t.Errorf("PatternHash(1000) = %s, want %s", got, want)
	}
	w := target.NewPatternWriter()
	if _, err := w.Write(pattern.Bytes()[:600]); err != nil {
		t.Fatal(err)
	}
	pattern.Bytes()[700] ^= 1
	n, err := w.Write(pattern.Bytes()[600:])
	if n != 100 || err == nil || !strings.Contains(err.Error(), "byte 700 ") {
		t.Errorf("a wrong byte 700 gives %d, %v", n, err)
	}
}

// TestTargetsWithoutATunnel: the targets do what their descriptions say on a plain
// connection. Any difference in the lab is therefore caused by the tunnel.
func TestTargetsWithoutATunnel(t *testing.T) {
	ports := map[string]string{}
	targets, err := target.Listen(func(network, address string) (net.Listener, error) {
		listener, err := net.Listen(network, "127.0.0.1:0")
		if err == nil {
			ports[address] = listener.Addr().String()
		}
		return listener, err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = targets.Close() }) // after the parallel subtests
	targets.SetName("alpha")
	targets.Release()
	for _, test := range []struct {
		name       string
		port       int
		send, want string
	}{
		{"echo", target.EchoPort, "hello", "hello"},
		{"speaks first", target.SpeakFirstPort, "", target.Banner},
		{"FIN first", target.FINFirstPort, "hello", target.Banner},
		{"after EOF", target.AfterEOFPort, "12345", "got 5 bytes and EOF\n"},
		{"half-close", target.HalfClosePort, "bytes 1000\n", pattern(t, 1000)},
		{"silent", target.SilentPort, "anyone?", ""},
		{"named", target.NamedPort, "7\n", "alpha 7\n"},
		{"named and released", target.NamedPort, "hold 7\n", "alpha\nalpha hold 7\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", ports[fmt.Sprintf(":%d", test.port)])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, werr := io.WriteString(conn, test.send)
			got, rerr := []byte(nil), conn.(*net.TCPConn).CloseWrite()
			if rerr == nil || test.send == "" {
				got, rerr = io.ReadAll(conn)
			}
			if err := errors.Join(werr, rerr); err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("sent %q, got %.100q, want %.100q", test.send, got, test.want)
			}
		})
	}
}

func pattern(t *testing.T, n int64) string {
	t.Helper()
	var b strings.Builder
	if _, err := io.CopyN(&b, target.Pattern(), n); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
