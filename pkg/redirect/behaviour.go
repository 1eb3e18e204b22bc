// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/pkg/origdst"
)

// behaviour sends the probes of each family through the redirect.
func (n *namespace) behaviour(ctx context.Context, t *target) []string {
	var problems []string
	for _, f := range t.families() {
		err := probeFamily(ctx, f, t.cfg.ProxyPort, append([]netip.AddrPort{t.probe[f]}, t.inside[f]...))
		if err == nil {
			continue
		}
		problems = append(problems, fmt.Sprintf("%s: %v", f, err))
		problems = append(problems, n.suspects(ctx, t, f)...)
	}
	return problems
}

// enoughFailures of one family end its probes: each may have waited for its
// whole timeout, and more of them would say the same.
const enoughFailures = 2

// probeFamily connects to each of targets. Nothing has to listen where the
// redirect leads; where the sidecar does, it answers.
func probeFamily(ctx context.Context, f Family, port uint16, targets []netip.AddrPort) error {
	// All sockets are made on this goroutine, whose thread is in the
	// namespace; where they are used afterwards does not matter.
	address := netip.AddrPortFrom(f.loopback(), port)
	var config net.ListenConfig
	config.SetMultipathTCP(false) // as the sidecar listens; SO_ORIGINAL_DST is TCP's
	listening, err := config.Listen(ctx, "tcp", address.String())
	if errors.Is(err, unix.EADDRINUSE) {
		return checkEach(ctx, targets)
	}
	if err != nil {
		return fmt.Errorf("listen on the proxy port %s to answer the probe: %w", address, err)
	}
	listener, ok := listening.(*net.TCPListener)
	if !ok {
		return fmt.Errorf("listen on the proxy port %s to answer the probe: got a %T", address, listening)
	}
	var answering sync.WaitGroup
	var answerErr error
	answering.Go(func() { answerErr = answer(listener, targets) })
	checkErr := checkEach(ctx, targets)
	_ = listener.Close() // ends answer, where no connection arrived
	answering.Wait()
	if checkErr == nil {
		return nil
	}
	return errors.Join(checkErr, answerErr)
}

// checkEach sends the probes, one after the other.
func checkEach(ctx context.Context, targets []netip.AddrPort) error {
	var failed []error
	for _, at := range targets {
		if err := probe.Check(ctx, at); err != nil {
			failed = append(failed, explained(err))
		}
		if len(failed) == enoughFailures || ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

// explained gives a failed probe the cause that is likely here: the rules are as they
// should be, and the sidecar or Verify itself listens on the proxy port. It speaks of
// this package's own functions and fields; package probe speaks to users of the
// commands.
func explained(err error) error {
	failed, ok := errors.AsType[*probe.Error](err)
	if !ok {
		return err
	}
	return &probe.Error{Target: failed.Target, Err: failed.Err, Cause: causeOf(failed)}
}

func causeOf(failed *probe.Error) string {
	is := func(kinds ...error) bool {
		return slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(failed.Err, kind) })
	}
	timeout, lost := errors.AsType[net.Error](failed.Err)
	switch {
	case is(unix.ECONNREFUSED):
		return "our rules stand and something listens on the proxy port, " +
			"so a rule of another program takes the connection to where nothing listens, rejects it, or keeps it from conntrack and so from our redirect"
	case lost && timeout.Timeout():
		return "our rules stand, so a rule of another program drops the connection, " +
			"on its way out or where it arrives at the proxy port, or sends it elsewhere"
	case is(unix.ECONNRESET, probe.ErrSilent):
		return "the sidecar accepted the connection but does not take it for the probe: " +
			"its shoot CIDRs and exclusions most likely differ from Config.Shoot and Config.Exclude; give both the same"
	case is(unix.ENETUNREACH, unix.EADDRNOTAVAIL, unix.EAFNOSUPPORT):
		return "the pod has no route or address of this family, which redirect.Apply adds: " +
			"call redirect.Apply again, and see that the kernel has the family enabled (net.ipv6.conf.all.disable_ipv6)"
	case is(unix.EHOSTUNREACH):
		return "the probe was not redirected and left the pod, or a rule dropped it (`iptables -t mangle -S`, `nft list ruleset`): " +
			"the nat rules are missing, were flushed, or stand in the other iptables backend; " +
			"call redirect.Verify, then redirect.Apply to repair them"
	case failed.Cause == probe.Unexplained:
		return "call redirect.Dump in this pod to see the rules and their counters"
	default:
		return failed.Cause
	}
}

// answer takes connections until the listener is closed, and answers probes.
func answer(listener *net.TCPListener, targets []netip.AddrPort) error {
	var failed error
	for {
		conn, err := listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return failed
		}
		if err != nil {
			return fmt.Errorf("accept the probe: %w", err)
		}
		original, err := origdst.Lookup(conn)
		if err == nil && slices.Contains(targets, original) {
			if err := probe.Answer(conn, original); err != nil {
				failed = err
			}
			continue
		}
		if err != nil {
			failed = fmt.Errorf("read the original destination of a connection from %s: %w", conn.RemoteAddr(), err)
		}
		// An app that started early; it is reset as it would be without a
		// sidecar.
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
}
