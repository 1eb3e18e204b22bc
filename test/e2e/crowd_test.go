// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

const (
	// crowdVariable makes this program the apps of one pod: it has the number of their
	// connections. One process may have 20,000 open files on the machines of CI, which is
	// not enough for all apps and all targets.
	crowdVariable = "E2E_CROWD"
	// crowdDials is how many connections of a crowd are opened at once. The rest waits,
	// because dials have a time limit.
	crowdDials = 128
	// crowdLimit is how long a crowd may take until all of it is in flight, and crowdLife
	// how long it may be open.
	crowdLimit = 4 * time.Minute
	crowdLife  = 15 * time.Minute
)

// crowd is what the apps of one pod got.
type crowd struct {
	// Answers counts right answers by the shoot that gave them.
	Answers map[string]int
	// Failed has the first errors, the oldest first.
	Failed []string
}

// beCrowd opens connections to named targets and keeps all of them open, each with one
// request that has no answer yet. It returns when all of them have their answers, or after
// the first error. It writes a crowd to standard output.
func beCrowd(size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return fmt.Errorf("%s=%q: %w", crowdVariable, size, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), crowdLife)
	defer cancel()
	var (
		tasks  sync.WaitGroup
		mu     sync.Mutex
		dials  = make(chan struct{}, crowdDials)
		result = crowd{Answers: map[string]int{}}
	)
	for i := range n {
		tasks.Go(func() {
			name, err := askAndHold(ctx, i, dials)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				result.Answers[name]++
				return
			}
			cancel()
			if len(result.Failed) < 5 {
				result.Failed = append(result.Failed, fmt.Sprintf("request %d: %v", i, err))
			}
		})
	}
	tasks.Wait()
	return json.NewEncoder(os.Stdout).Encode(result)
}

// askAndHold sends one request and returns the shoot that has answered it. Its connection
// counts as a dial until the target has the request.
func askAndHold(ctx context.Context, i int, dials chan struct{}) (shoot string, err error) {
	dials <- struct{}{}
	conn, answer, shoot, err := ask(ctx, i)
	<-dials
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	got, err := io.ReadAll(answer)
	if err != nil {
		return "", err
	}
	if want := fmt.Sprintf("%s %s%d\n", shoot, target.HoldPrefix, i); string(got) != want {
		return "", fmt.Errorf("the answer is %q, want %q", got, want)
	}
	return shoot, nil
}

// withoutProbes dials without keepalive. Probes of thousands of idle connections come in
// bursts that the kernel drops, and then it ends some of these connections.
var withoutProbes = net.Dialer{KeepAlive: -1}

func ask(ctx context.Context, i int) (net.Conn, io.Reader, string, error) {
	addr := lab.ShootPod(lab.DualStack.Each()[i%2], 1+i/2%lab.PodAddresses)
	conn, err := withoutProbes.DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), strconv.Itoa(target.NamedPort)))
	if err != nil {
		return nil, nil, "", err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	answer := bufio.NewReaderSize(conn, 64)
	_, err = fmt.Fprintf(conn, "%s%d\n", target.HoldPrefix, i)
	if err == nil {
		var name string
		if name, err = answer.ReadString('\n'); err == nil {
			return conn, answer, name[:len(name)-1], nil
		}
	}
	return nil, nil, "", errors.Join(err, conn.Close())
}

// testCrowds sends n requests from each pod, all of them in flight at the same time. Each
// pod gets answers of its own shoot only.
func testCrowds(t *testing.T, n int, tenants ...*tenant) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	type outcome struct {
		tenant *tenant
		crowd  crowd
		err    error
	}
	began, ctx := time.Now(), labtest.Context(t, crowdLimit)
	outcomes := make(chan outcome, len(tenants))
	for _, s := range tenants {
		s.targets.Hold()
		go func() {
			o := outcome{tenant: s}
			var got lab.Result
			got, o.err = s.Pod.Run(ctx, lab.Command{Path: self, Env: []string{fmt.Sprint(crowdVariable, "=", n)}})
			if o.err == nil {
				o.err = json.Unmarshal([]byte(got.Stdout), &o.crowd)
			}
			outcomes <- o
		}()
	}
	err = lab.Poll(ctx, "all requests to be in flight", func(context.Context) error {
		if len(outcomes) != 0 {
			return nil // a crowd has ended already: its result says why
		}
		if held := heldBy(tenants); held != n*len(tenants) {
			return fmt.Errorf("%d of %d requests are in flight", held, n*len(tenants))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	inFlight := heldBy(tenants)
	for _, s := range tenants {
		if held := s.targets.Held(); held != n {
			t.Errorf("%d requests are in flight to the targets of %s, want %d", held, s.id, n)
		}
		if active := s.metrics(t)["proxy_client_connections_active"]; active < float64(n) {
			t.Errorf("%v connections go through the sidecar of %s, want %d", active, s.id, n)
		}
	}
	t.Logf("%d requests were in flight at once, %s after the first", inFlight, time.Since(began).Round(time.Millisecond))
	for _, s := range tenants {
		s.targets.Release()
	}
	for range tenants {
		o := <-outcomes
		if o.err != nil {
			t.Errorf("the apps of %s: %v", o.tenant.id, o.err)
		} else if diff := cmp.Diff(crowd{Answers: map[string]int{o.tenant.id: n}}, o.crowd); diff != "" {
			t.Errorf("what the apps of %s got (-want +got):\n%s", o.tenant.id, diff)
		}
	}
	t.Logf("all answers were there %s after the first request", time.Since(began).Round(time.Millisecond))
}

// heldBy returns how many requests wait at the targets of all shoots together.
func heldBy(tenants []*tenant) (sum int) {
	for _, s := range tenants {
		sum += s.targets.Held()
	}
	return sum
}
