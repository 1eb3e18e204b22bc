// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// alive serves /livez like a proxy-client that listens from the third request on.
func alive(t *testing.T) (port string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := asked.Add(1); r.URL.Path != "/livez" || n < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, asked
}

func TestWaitReturnsWhenTheSidecarIsAlive(t *testing.T) {
	for name, address := range map[string]string{"all addresses": ":", "all of IPv4": "0.0.0.0:", "one": "127.0.0.1:"} {
		t.Run(name, func(t *testing.T) {
			port, asked := alive(t)
			code, _, stderr := outcome(t, map[string]string{"PROXY_CLIENT_HEALTH_ADDRESS": address + port}, "wait")
			if code != 0 || asked.Load() < 3 {
				t.Errorf("exit code %d after %d questions: %s", code, asked.Load(), stderr)
			}
		})
	}
}

func TestWaitSaysWhatItHasSeen(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	code, _, stderr := outcome(t, nil, "wait", "--timeout=300ms", "--health-address="+s.Listener.Addr().String())
	if code != 1 || !strings.Contains(stderr, "404 Not Found") || !strings.Contains(stderr, "300ms") || !strings.Contains(stderr, `--health-address "`+s.Listener.Addr().String()+`"`) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestWaitNamesASilentAddress: the address is named also if it never answers.
func TestWaitNamesASilentAddress(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	code, _, stderr := outcome(t, nil, "wait", "--timeout=100ms", "--health-address="+silent.Addr().String())
	want := fmt.Sprintf("proxy-client: --health-address %q: proxy-client is not alive there after 100ms (no answer): its log says why, or it has another --health-address\n", silent.Addr())
	if code != 1 || stderr != want {
		t.Errorf("exit code %d: %s\nwant %s", code, stderr, want)
	}
}

func TestWaitEndsAtASignal(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	signals := make(chan os.Signal, 1)
	signals <- unix.SIGTERM
	if err := await(signals, ":1", []string{s.URL + "/livez"}, time.Minute); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("%v, want that it was ended", err)
	}
}
