// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

const (
	// sent is what port 9 of a source sends. A sidecar holds most of it back for an app
	// that does not read, and does not reset the app.
	sent = 9 << 20
	// held is less than that by what kernel and pipes hold at most.
	held = 4 << 20
)

// startSource runs a pod of the shoot for tests of what is not read:
//   - Its port 9 sends some bytes and then nothing.
//   - Its port 19 sends without an end.
//   - Its log has what is written to its standard output. After the file /tmp/go was made,
//     it gets 30 MB in three seconds.
func (s *sharing) startSource(t *testing.T) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "source"},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64(0)),
			AutomountServiceAccountToken:  new(false),
			Containers: []corev1.Container{{
				Name: "source", Image: image.Reference(image.Busybox), ImagePullPolicy: corev1.PullNever,
				Command: []string{"sh", "-c", `
					nc -ll -p 9 -e sh -c "head -c ` + strconv.Itoa(sent) + ` /dev/zero; exec sleep 1000" >/dev/null &
					nc -ll -p 19 -e cat /dev/zero >/dev/null &
					while [ ! -e /tmp/go ]; do usleep 100000; done
					for n in $(seq 30); do yes "` + strings.Repeat("x", 99) + `" | head -n 10000; usleep 100000; done
					exec sleep 1000`},
			}},
		},
	}
	namespace := s.Shoot.Namespace(t)
	create(t, s.Shoot, namespace, pod)
	return s.Shoot.AwaitPod(t, namespace, pod.Name, clustertest.Ready)
}

// stalledApp: an app behind the sidecar does not read, and kubectl logs goes on.
func (s *sharing) stalledApp(t *testing.T) {
	source := s.source
	logs := startKubectl(t, s.Rig, s.api, "logs", "--follow", "--namespace", source.Namespace, source.Name)
	wantLine := func() {
		t.Helper()
		word := rand.Text()
		s.Shoot.Exec(t, source, "source", "sh", "-c", "echo "+word+" >/proc/1/fd/1")
		logs.await(t, word)
	}
	wantLine()

	s.download(t, source.Status.PodIP, "9", `while [ ! -e /tmp/go ]; do usleep 100000; done; head -c `+strconv.Itoa(sent)+` | wc -c >/tmp/read`)
	clustertest.Eventually(t, "the sidecar to hold bytes for the app", s.holds)
	for range 5 {
		wantLine()
	}
	if err := s.holds(clustertest.Context(t)); err != nil {
		t.Errorf("the app did not stand still meanwhile: %v", err)
	}
	s.Seed.Exec(t, s.pod, app, "touch", "/tmp/go")
	clustertest.Eventually(t, "the app to read everything", func(ctx context.Context) error {
		out, err := s.Seed.TryExec(ctx, s.pod, app, "cat", "/tmp/read")
		if err == nil && strings.TrimSpace(out) != strconv.Itoa(sent) {
			err = fmt.Errorf("it has %q bytes", out)
		}
		return err
	})

	s.download(t, source.Status.PodIP, "19", "sleep 1000")
	clustertest.Eventually(t, "the reset of an app that never reads", func(ctx context.Context) error {
		metrics, err := s.sidecarMetrics(ctx)
		if err == nil && metrics[`proxy_client_close_total{reason="slow_reader"}`] == 0 {
			err = errors.New("there is none")
		}
		return err
	})
	wantLine()
}

// download starts a download of the app in the background, of which a script reads what it
// wants to.
func (s *sharing) download(t *testing.T, host, port, script string) {
	t.Helper()
	// nc would send the end of its input. The background process must not keep the outputs
	// of this exec, because then the exec would not end.
	s.Seed.Exec(t, s.pod, app, "sh", "-c", `( exec >/dev/null 2>&1; sleep 1000 | nc "$0" "$1" | { `+script+`; } ) &`, host, port)
}

// holds returns nil if the sidecar holds bytes for an app that does not read.
func (s *sharing) holds(ctx context.Context) error {
	metrics, err := s.sidecarMetrics(ctx)
	if err != nil {
		return err
	}
	if buffered := metrics.Sum("proxy_client_buffered_bytes"); buffered < held {
		return fmt.Errorf("it holds %.0f bytes", buffered)
	}
	return nil
}

func (s *sharing) sidecarMetrics(ctx context.Context) (lab.Metrics, error) {
	text, err := s.Seed.TryExec(ctx, s.pod, app, "wget", "-q", "-O", "-", fmt.Sprintf("http://127.0.0.1:%d/metrics", lab.HealthPort))
	if err != nil {
		return nil, err
	}
	return lab.ParseMetrics(text), nil
}

const (
	// patience is how long a connection that stands still is watched before kubectl is
	// killed.
	patience = 3 * time.Second
	// watched is for how long a connection is watched if it does not stand still. Until
	// then kubectl's own buffers may not be full.
	watched = 20 * time.Second
)

// stalls are the ways in which a kubectl stops reading, by its command. Each returns once
// something was read.
func (s *sharing) stalls() map[string]func(*testing.T) (stop func()) {
	return map[string]func(*testing.T) func(){
		"logs": func(t *testing.T) func() {
			d := startKubectl(t, s.Rig, s.api, "logs", "--follow", "--namespace", s.source.Namespace, s.source.Name)
			s.Shoot.Exec(t, s.source, "source", "touch", "/tmp/go")
			d.await(t, "xxx")
			return d.stop
		},
		"exec": func(t *testing.T) func() {
			d := startKubectl(t, s.Rig, s.api, "exec", "--namespace", s.source.Namespace, s.source.Name, "--", "yes")
			d.await(t, "y")
			return d.stop
		},
		"port-forward": func(t *testing.T) func() {
			d, address := s.forward(t, s.source, "19")
			conn, err := net.DialTimeout("tcp", address, clustertest.Limit)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if err := conn.SetReadDeadline(time.Now().Add(clustertest.Limit)); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			return func() { conn.Close(); d.stop() }
		},
	}
}

// stalledKubectl measures what a kubectl that does not read does to a connection of our
// sidecar. The times decide nothing: kubectl ends, and the connection goes on.
func (s *sharing) stalledKubectl(t *testing.T) {
	s.scaleAgents(t, 1) // of two agents only one would stand still
	for _, command := range s.stalling {
		t.Run(command, func(t *testing.T) {
			open := s.connect(t)
			stop := s.stalls()[command](t)
			defer stop()
			var longest time.Duration
			for begin := time.Now(); time.Since(begin) < watched; time.Sleep(20 * time.Millisecond) {
				asked, word := time.Now(), rand.Text()
				open.send(t, word)
				_, err := open.awaitWithin(patience, word)
				if silent := errSilent(""); errors.As(err, &silent) {
					stop()
					open.await(t, word)
					t.Logf("kubectl %s that does not read: the connection stands still for %s, and kubectl is killed after %s", command, time.Since(asked), patience)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				longest = max(longest, time.Since(asked))
			}
			stop()
			open.wantEcho(t)
			t.Logf("kubectl %s that does not read: the longest round trip of the connection takes %s", command, longest)
		})
	}
}
