// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestAFloodOfTheHealthAddressStopsNothing: the whole pod network reaches the health
// address. Thousands of connections stay open there, answered or not. They take no file
// from the apps and no answer from the kubelet, and use hardly any memory.
func TestAFloodOfTheHealthAddressStopsNothing(t *testing.T) {
	const (
		files   = 4096
		flood   = files + 500
		allowed = 64
	)
	r := newBareRig(t, lab.Options{Mode: lab.HTTPConnect})
	r.apply(t)
	command := r.ProxyClientCommand()
	command.Path, command.Args = "prlimit", append([]string{fmt.Sprintf("--nofile=%d:%[1]d", files), command.Path}, command.Args...)
	sidecar, err := r.StartSidecar(labtest.Context(t, hang), command)
	if err != nil {
		t.Fatal(err)
	}
	r.sidecar = sidecar
	old := r.open(t, lab.ShootPod(lab.IPv4, 1), target.EchoPort)
	echo(t, old)
	before := r.metrics(t).Sum("process_resident_memory_bytes")

	address := net.JoinHostPort(lab.PodAddress(lab.IPv4).String(), fmt.Sprint(lab.HealthPort))
	for i := range flood {
		conn, err := r.Seed.DialContext(labtest.Context(t, hang), "tcp", address)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(hang)); err != nil {
			t.Fatal(err)
		}
		request := "GET /livez HTTP/1.1\r\nHost: pod\r\n"
		if i%2 == 0 {
			request += "\r\n"
		}
		_, _ = io.WriteString(conn, request) // the server has already closed the oldest
		if i%2 == 0 {
			wantAlive(t, conn)
		}
	}
	r.wantRoom(t)
	echo(t, old)
	if _, err := r.SidecarMetrics(labtest.Context(t, hang)); err != nil {
		t.Errorf("a scrape beside %d idle connections: %v", flood, err)
	}
	// The two apps have a connection and a connection to the server each. The process
	// itself has some more.
	eventually(t, "no more connections to stay than may", func(context.Context) error {
		open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", sidecar.PID()))
		if err == nil && len(open) > allowed+40 {
			err = fmt.Errorf("%d files are open", len(open))
		}
		return err
	})
	if after := r.metrics(t).Sum("process_resident_memory_bytes"); after > before+20<<20 {
		t.Errorf("the flood has cost %.0f MiB", (after-before)/(1<<20))
	}
	if log := r.log(t); strings.Contains(log, "too many open files") {
		t.Errorf("files ran out:\n%s", log)
	}
}

// wantAlive reads the answer to a request for /livez.
func wantAlive(t *testing.T, conn net.Conn) {
	t.Helper()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.Fatal("a request in the flood was not answered")
	case err != nil:
		t.Fatalf("the youngest connection was closed: %v", err)
	case answer.StatusCode != http.StatusOK:
		t.Fatalf("/livez: %s", answer.Status)
	}
	_ = answer.Body.Close()
}
