// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// destination is one address in the shoot that the demo reaches.
type destination struct {
	kind string
	addr netip.Addr
}

func destinations() []destination {
	var all []destination
	for _, f := range lab.DualStack.Each() {
		all = append(all,
			destination{"pod", lab.ShootPod(f, 1)},
			destination{"service", lab.ShootService(f)},
			destination{"node", lab.ShootNode(f)})
	}
	return all
}

func (d destination) hostPort() string {
	return net.JoinHostPort(d.addr.String(), fmt.Sprint(target.HTTPPort))
}

// scene is one numbered part of the story.
type scene func(context.Context, *story, *lab.Lab) error

// scenes returns those of the whole story.
func scenes() []scene {
	return []scene{hosts, unreachable, redirect, sidecar, curl, prometheus, dump, counters}
}

// play runs scenes in order, and stops at the first that fails.
func play(ctx context.Context, s *story, l *lab.Lab, scenes []scene) error {
	for _, scene := range scenes {
		if err := scene(ctx, s, l); err != nil {
			return err
		}
	}
	return nil
}

func hosts(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("Three hosts, as network namespaces; upstream's proxy-server and agent, unmodified")
	s.output(strings.TrimPrefix(picture, "\n"), 20)
	return serve(ctx, s, l)
}

// serve starts the servers of the shoot.
func serve(ctx context.Context, s *story, l *lab.Lab) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if _, err := l.Shoot.Start("targets", lab.Command{Path: self, Args: []string{"targets"}}); err != nil {
		return err
	}
	err = lab.Poll(ctx, "the targets in the shoot", func(ctx context.Context) error {
		conn, err := l.Shoot.DialContext(ctx, "tcp", destinations()[0].hostPort())
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		return err
	}
	s.check("the agent has dialled out to the proxy-server: both are ready")
	return nil
}

const picture = `
 client's pod                 seed's control plane            shoot
 10.96.0.10, fd00:96::10 ───  proxy-server :8090  ◄── agent   pods      100.64.0.0/16   fd10:64::/48
                              (gRPC, mutual TLS)              services  100.104.0.0/16  fd10:104::/48
                              no route to the shoot           nodes     10.250.0.0/16   fd10:250::/48`

func unreachable(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("Without us, the client cannot reach the shoot")
	for _, d := range destinations() {
		command := lab.Command{
			Path: "curl", UID: lab.AppUID,
			Args: []string{"-sS", "--connect-timeout", "0.5", lab.URL(d.addr, target.HTTPPort, "/")},
		}
		s.command("pod", command.String())
		result, err := l.Pod.Run(ctx, command)
		if err == nil {
			return fmt.Errorf("%s reached %s without a tunnel: %s", command, d.addr, result.Stdout)
		}
		s.output(result.Stderr, 2)
	}
	return nil
}

func redirect(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("init-redirect, the init container, redirects the shoot's CIDRs in the pod's own network namespace")
	s.command("pod", `SHOOT="`+strings.Join(l.ShootFlags(), " ")+`"`)
	for _, subcommand := range []string{"apply", "verify"} {
		command := l.InitRedirectCommand(subcommand)
		s.command("pod", short(l, command))
		result, err := l.Pod.Run(ctx, command)
		if err != nil {
			return err
		}
		s.output(result.Stdout+result.Stderr, 6)
	}
	return nil
}

// short returns a command in short form. The flags that all of our commands share are a
// variable, and files have no folder.
func short(l *lab.Lab, c lab.Command) string {
	line := strings.Replace(c.String(), strings.Join(l.ShootFlags(), " "), "$SHOOT", 1)
	return strings.ReplaceAll(line, l.Dir+"/", "")
}

func sidecar(ctx context.Context, s *story, l *lab.Lab) error {
	s.step(fmt.Sprintf("proxy-client, the sidecar, starts as uid %d without a capability", lab.ProxyUID))
	return startSidecar(ctx, s, l)
}

// startSidecar starts the sidecar with further flags, and checks how it runs.
func startSidecar(ctx context.Context, s *story, l *lab.Lab, flags ...string) error {
	s.command("pod", short(l, l.ProxyClientCommand(flags...))+" &")
	process, err := l.StartProxyClient(ctx, flags...)
	if err != nil {
		return err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.PID()))
	if err != nil {
		return err
	}
	var found []string
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "CapEff:") || strings.HasPrefix(line, "Uid:") {
			found = append(found, strings.Join(strings.Fields(line), " "))
		}
	}
	want := []string{fmt.Sprintf("Uid: %[1]d %[1]d %[1]d %[1]d", lab.ProxyUID), "CapEff: 0000000000000000"}
	if !slices.Equal(found, want) {
		return fmt.Errorf("the sidecar runs with %q, want %q", found, want)
	}
	s.output(strings.Join(found, "\n"), 4)
	reached := "and the proxy-server is reachable"
	if slices.ContainsFunc(flags, func(flag string) bool { return strings.HasPrefix(flag, "--exit=") }) {
		reached = "the proxy-server is reachable, and the exit answers"
	}
	s.check("ready: it listens on loopback, %s", reached)
	return nil
}

func curl(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("The same curl, unmodified, now reaches pod, service and node addresses")
	for _, d := range destinations() {
		command := lab.Command{Path: "curl", Args: []string{"-sS", lab.URL(d.addr, target.HTTPPort, "/")}, UID: lab.AppUID}
		s.command("pod", command.String())
		result, err := l.Pod.Run(ctx, command)
		if err != nil {
			return err
		}
		if want := "hello from the shoot; you called " + d.hostPort() + "\n"; result.Stdout != want {
			return fmt.Errorf("%s printed %q, want %q", command, result.Stdout, want)
		}
		s.output(result.Stdout, 2)
	}
	return nil
}

func prometheus(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("So does Prometheus, unmodified, once a second")
	jobs := map[string][]string{}
	for _, d := range destinations() {
		jobs[d.kind] = append(jobs[d.kind], d.hostPort())
	}
	p, err := l.StartPrometheus(ctx, time.Second, jobs)
	if err != nil {
		return err
	}
	s.say("(Prometheus takes five seconds before it looks at its targets for the first time.)")
	var rows []string
	err = lab.Poll(ctx, "Prometheus to see its targets", func(ctx context.Context) error {
		rows = nil
		samples, err := p.Query(ctx, "up")
		if err != nil {
			return err
		}
		if len(samples) != len(destinations()) {
			return fmt.Errorf("it has scraped %d of %d targets", len(samples), len(destinations()))
		}
		for _, sample := range samples {
			rows = append(rows, fmt.Sprintf("up{job=%q, instance=%q} %v", sample.Labels["job"], sample.Labels["instance"], sample.Value))
			if sample.Value != 1 {
				err = errors.Join(err, errors.New(rows[len(rows)-1]))
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	s.command("pod", "curl -s '"+p.QueryURL("up")+"'")
	slices.Sort(rows)
	s.output(strings.Join(rows, "\n"), 10)
	return nil
}

func dump(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("What just happened, as the kernel counted it: our rules, and the connections that they redirected")
	command := l.InitRedirectCommand("dump")
	s.command("pod", short(l, command))
	result, err := l.Pod.Run(ctx, command)
	if err != nil {
		return err
	}
	// The sections are what the rules ask for, the rules, what the pod was given, and
	// connections.
	sections := strings.Split(result.Stdout, "\n\n")
	section := func(title string) string {
		i := slices.IndexFunc(sections, func(section string) bool { return strings.HasPrefix(section, title) })
		if i < 0 {
			return ""
		}
		return sections[i]
	}
	rules, connections := section("FAMILY "), section("ORIGINAL DESTINATION")
	if rules == "" {
		return fmt.Errorf("the dump shows no rules:\n%s", result.Stdout)
	}
	var shown []string
	for line := range strings.Lines(rules) {
		if !strings.Contains(line, " PROXY_CLIENT_GUARD ") {
			shown = append(shown, strings.TrimRight(line, "\n"))
		}
	}
	s.output(strings.Join(shown, "\n"), 30)
	s.say("(and the guard, which rejects what the rules above do not redirect: %d lines)", strings.Count(rules, " PROXY_CLIENT_GUARD "))
	s.output(connections, 30)
	for _, d := range destinations() {
		if !strings.Contains(connections, d.hostPort()+" ") {
			return fmt.Errorf("the dump does not show the connection to %s:\n%s", d.hostPort(), result.Stdout)
		}
	}
	return nil
}

func counters(ctx context.Context, s *story, l *lab.Lab) error {
	s.step("And as the sidecar and the upstream server counted it")
	ours, err := l.SidecarMetrics(ctx)
	if err != nil {
		return err
	}
	theirs, err := l.ServerMetrics(ctx)
	if err != nil {
		return err
	}
	s.command("pod", "curl -s "+l.SidecarURL("/metrics")+" | grep proxy_client_")
	var lines []string
	for series, value := range ours {
		if strings.HasPrefix(series, "proxy_client_") && value != 0 && !strings.Contains(series, "_bucket") {
			lines = append(lines, fmt.Sprintf("%s %v", series, value))
		}
	}
	slices.Sort(lines)
	s.output(strings.Join(lines, "\n"), 20)
	s.say("The upstream server: %s %v", lab.ServerEstablished, theirs.Sum(lab.ServerEstablished))
	if n := ours.Sum("proxy_client_dial_failures_total"); n != 0 {
		return fmt.Errorf("%v dials failed", n)
	}
	return nil
}
