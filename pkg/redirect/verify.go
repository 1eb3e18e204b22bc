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
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/pkg/origdst"
)

// behaviourTimeout bounds the probes of one Verify. They never leave loopback.
const behaviourTimeout = 5 * time.Second

// Verify compares the chains with what cfg asks for, in order, and then tries
// them: it connects to the probe address and expects the sidecar's answer, or
// its own where nothing listens on the proxy port yet. It changes nothing.
// What is wrong is a [*VerifyError].
func Verify(ctx context.Context, cfg Config, opt Options) error {
	return withTarget(ctx, cfg, opt, func(n *namespace, t *target) error { return n.verify(ctx, t) })
}

func (n *namespace) verify(ctx context.Context, t *target) error {
	problems, err := n.structure(t)
	if err != nil {
		return err
	}
	if len(problems) == 0 {
		// With wrong rules a probe would only repeat that, later.
		problems = behaviour(ctx, t)
	}
	if len(problems) == 0 {
		return nil
	}
	installed, err := n.installed()
	if err != nil {
		return err
	}
	if installed == nil {
		return &VerifyError{Problems: []string{nothingStands}}
	}
	differences, err := installed.Differences(t.cfg)
	if err != nil {
		return err
	}
	return &VerifyError{Problems: slices.Concat(differences, problems)}
}

// structure lists how rules, address and routes differ from what is wanted.
func (n *namespace) structure(t *target) ([]string, error) {
	all, err := n.prepare(t, false)
	if err != nil {
		return nil, err
	}
	var problems []string
	for _, w := range all {
		problems = append(problems, w.on.state.differences(w.rules, w.on.backend)...)
		steps, err := n.reachSteps(t, w.rules.Family)
		if err != nil {
			return nil, err
		}
		for _, s := range steps {
			problems = append(problems, fmt.Sprintf("%s: connections need: %s", w.rules.Family, s.text))
		}
	}
	return problems, nil
}

// behaviour sends the probe of each family through the redirect.
func behaviour(ctx context.Context, t *target) []string {
	ctx, cancel := context.WithTimeout(ctx, behaviourTimeout)
	defer cancel()
	var problems []string
	for _, f := range t.families() {
		if err := probeFamily(ctx, f, t.cfg.ProxyPort, t.probe[f]); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", f, err))
		}
	}
	return problems
}

// probeFamily connects to the probe address. Nothing has to listen where the
// redirect leads; where the sidecar does, it answers.
func probeFamily(ctx context.Context, f Family, port uint16, at netip.AddrPort) error {
	// Both sockets are made on this goroutine, whose thread is in the
	// namespace; where they are used afterwards does not matter.
	address := netip.AddrPortFrom(f.loopback(), port)
	var config net.ListenConfig
	config.SetMultipathTCP(false) // as the sidecar listens; SO_ORIGINAL_DST is TCP's
	listening, err := config.Listen(ctx, "tcp", address.String())
	if errors.Is(err, unix.EADDRINUSE) {
		return probe.Check(ctx, at)
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
	answering.Go(func() { answerErr = answer(listener, at) })
	checkErr := probe.Check(ctx, at)
	_ = listener.Close() // ends answer, where no connection arrived
	answering.Wait()
	if checkErr == nil {
		return nil
	}
	return errors.Join(checkErr, answerErr)
}

// answer takes connections until it met the probe, and answers that.
func answer(listener *net.TCPListener, at netip.AddrPort) error {
	var lookups error
	for {
		conn, err := listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return lookups
		}
		if err != nil {
			return fmt.Errorf("accept the probe: %w", err)
		}
		original, err := origdst.Lookup(conn)
		if err == nil && original == at {
			return probe.Answer(conn, original)
		}
		if err != nil {
			lookups = fmt.Errorf("read the original destination of a connection from %s: %w", conn.RemoteAddr(), err)
		}
		// An app that started early; it is reset as it would be without a
		// sidecar.
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
}
