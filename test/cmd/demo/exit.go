// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// exitScenes returns those that show what an exit adds.
func exitScenes() []scene {
	return []scene{exitHosts, redirect, exitSidecar, stalledReader, slowCurl, halfClose, refused, forbidden, exitCounters}
}

const exitPicture = `
client's pod      seed's control plane           shoot
10.96.0.10   ───  proxy-server :8090  ◄── agent ──► exit 100.64.2.1:9443 ──► pods, services, nodes
     └─────────── TLS from sidecar to exit, a stream for each connection ──────┘`

func exitHosts(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("Upstream's proxy-server and agent, unmodified, and an exit in the shoot: proxy-exit")
	s.output(strings.TrimPrefix(exitPicture, "\n"), 20)
	if err := serve(ctx, s, l); err != nil {
		return err
	}
	s.say("What the exit allows, by the client's certificate and the destination:")
	s.output(l.ExitPolicy(), 10)
	return nil
}

func exitSidecar(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("proxy-client, the sidecar, starts with --exit: it reaches all of the shoot through the exit")
	return startSidecar(ctx, s, l, l.ExitFlags()...)
}

// pods is how many pods a round of requests asks.
const pods = 20

// askPods asks some pods one after the other, and returns the longest time.
func askPods(ctx context.Context, s *story, l *lab.Lab) error {
	command := app("curl", "-sS", "-o", "/dev/null", "-w", `%{time_total}\n`,
		fmt.Sprintf("http://100.64.0.[1-%d]:%d/", pods, target.HTTPPort))
	s.command("pod", command.String()+" | sort -n | tail -1")
	result, err := l.Pod.Run(ctx, command)
	if err != nil {
		return err
	}
	times := strings.Fields(result.Stdout)
	if len(times) != pods {
		return fmt.Errorf("%s printed %q, want %d times", command, result.Stdout, pods)
	}
	slices.Sort(times) // all of them have the same number of digits
	s.output(times[len(times)-1], 1)
	s.check("%d pods answered, each on a connection of its own", pods)
	return nil
}

// app returns a command that an app runs.
func app(path string, args ...string) lab.Command {
	return lab.Command{Path: path, Args: args, UID: lab.AppUID}
}

func stalledReader(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("An app stops reading a download of 1 GiB. Others do not notice, and it is not reset")
	url := lab.URL(lab.ShootPod(lab.IPv4, 30), target.HTTPPort, "/file?bytes=1073741824")
	line := fmt.Sprintf("curl -sS %s | sleep infinity", url)
	s.command("pod", line+" &")
	if _, err := l.Pod.Start("stalled-reader", app("sh", "-c", line)); err != nil {
		return err
	}
	if err := wantActive(ctx, l, 1); err != nil {
		return err
	}
	if err := askPods(ctx, s, l); err != nil {
		return err
	}
	return wantActive(ctx, l, 1)
}

// wantActive waits until this many apps are connected.
func wantActive(ctx context.Context, l *lab.Lab, n float64) error {
	return lab.Poll(ctx, "the apps to be connected", func(ctx context.Context) error {
		m, err := l.SidecarMetrics(ctx)
		if got := m["proxy_client_connections_active"]; err == nil && got != n {
			err = fmt.Errorf("%v are, want %v", got, n)
		}
		return err
	})
}

func slowCurl(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("A slow curl beside it gets everything. Without an exit, --connection-buffer and the others' patience end first")
	const size = 24 << 20
	url := lab.URL(lab.ShootPod(lab.IPv4, 31), target.HTTPPort, fmt.Sprint("/file?bytes=", size))
	command := app("curl", "-sS", "--limit-rate", "4M", "-o", "/dev/null", "-w", `%{size_download} bytes, %{speed_download} bytes/s\n`, url)
	s.command("pod", command.String()+" &")
	type outcome struct {
		result lab.Result
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		result, err := l.Pod.Run(ctx, command)
		done <- outcome{result, err}
	}()
	err := wantActive(ctx, l, 2)
	if err == nil {
		err = askPods(ctx, s, l)
	}
	slow := <-done
	if err := errors.Join(err, slow.err); err != nil {
		return err
	}
	if !strings.HasPrefix(slow.result.Stdout, fmt.Sprint(size, " bytes")) {
		return fmt.Errorf("%s got %q, want %d bytes", command, slow.result.Stdout, size)
	}
	s.say("The slow curl:")
	s.output(slow.result.Stdout, 1)
	return nil
}

func halfClose(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("A client half-closes, and its target answers only after that")
	command := app("nc", "-N", lab.ShootPod(lab.IPv4, 1).String(), strconv.Itoa(target.AfterEOFPort))
	const question = "is that all?"
	command.Stdin = strings.NewReader(question)
	s.command("pod", fmt.Sprintf("printf %q | %s", question, command))
	result, err := l.Pod.Run(ctx, command)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("got %d bytes and EOF\n", len(question)); result.Stdout != want {
		return fmt.Errorf("%s printed %q, want %q", command, result.Stdout, want)
	}
	s.output(result.Stdout, 2)
	return nil
}

func refused(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("A target refuses: the app's connection is reset, and the sidecar's log says why")
	addr := net.JoinHostPort(lab.ShootPod(lab.IPv4, 1).String(), strconv.Itoa(target.ClosedPort))
	return wantRefused(ctx, s, l, addr)
}

// forbidden takes the services out of the exit's policy.
func forbidden(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("The exit's policy changes while it runs: from now on no services")
	policy := lab.ExitPolicyText(lab.ExitClientName, lab.PodCIDR(lab.IPv4), lab.NodeCIDR(lab.IPv4))
	s.output(policy, 10)
	if err := l.WriteExitPolicy(policy); err != nil {
		return err
	}
	service := lab.ShootService(lab.IPv4)
	err := lab.Poll(ctx, "the exit to have read its policy", func(ctx context.Context) error {
		if _, err := l.Pod.Run(ctx, app("curl", "-sS", lab.URL(service, target.HTTPPort, "/"))); err == nil {
			return errors.New("a service is still in reach")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := wantRefused(ctx, s, l, net.JoinHostPort(service.String(), strconv.Itoa(target.HTTPPort))); err != nil {
		return err
	}
	return askPods(ctx, s, l)
}

// wantRefused connects to a target that cannot be reached, and shows what curl says and
// what the sidecar says.
func wantRefused(ctx context.Context, s *story, l *lab.Lab, addr string) error {
	command := app("curl", "-sS", "http://"+addr+"/")
	s.command("pod", command.String())
	result, err := l.Pod.Run(ctx, command)
	if err == nil {
		return fmt.Errorf("%s reached what cannot be reached: %s", command, result.Stdout)
	}
	s.output(result.Stderr, 2)
	var line string
	err = lab.Poll(ctx, "the sidecar's log line", func(context.Context) error {
		for found := range strings.Lines(l.SidecarLog()) {
			if strings.Contains(found, `"`+addr+`"`) && strings.Contains(found, `"reason"`) {
				line = found
			}
		}
		if line == "" {
			return errors.New("there is none")
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.say("The sidecar's log:")
	s.output(wrap(line, 110), 8)
	return nil
}

// wrap breaks a long line at its commas.
func wrap(line string, width int) string {
	var b strings.Builder
	n := 0
	for part := range strings.SplitAfterSeq(strings.TrimSpace(line), ",") {
		if n > 0 && n+len(part) > width {
			b.WriteString("\n  ")
			n = 2
		}
		b.WriteString(part)
		n += len(part)
	}
	return b.String()
}

func exitCounters(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("As the sidecar, the upstream server and the exit counted it")
	ours, err := l.SidecarMetrics(ctx)
	if err != nil {
		return err
	}
	theirs, err := l.ServerMetrics(ctx)
	if err != nil {
		return err
	}
	exit, err := l.Exits[0].Metrics(ctx)
	if err != nil {
		return err
	}
	var lines []string
	for _, m := range []lab.Metrics{ours, exit} {
		for series, value := range m {
			if value != 0 && !strings.Contains(series, "_bucket") && isCount(series) {
				lines = append(lines, fmt.Sprintf("%s %v", series, value))
			}
		}
	}
	slices.Sort(lines)
	s.output(strings.Join(lines, "\n"), 30)
	s.say("The upstream server carries all of that on %v connections.", theirs.Sum(lab.ServerEstablished))
	if n := ours[`proxy_client_close_total{reason="slow_reader"}`]; n != 0 {
		return fmt.Errorf("%v apps were reset because they read slowly", n)
	}
	return nil
}

// isCount reports whether a series counts connections of apps or streams.
func isCount(series string) bool {
	return slices.ContainsFunc([]string{
		"proxy_client_connections_total", "proxy_client_close", "proxy_client_dial_failures",
		"proxy_exit_connections", "proxy_exit_streams", "proxy_exit_close", "proxy_exit_refused",
	}, func(prefix string) bool { return strings.HasPrefix(series, prefix) })
}
