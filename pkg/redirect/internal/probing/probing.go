// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package probing tries the redirect: it connects to probe addresses and expects the answer
// of the listener that the redirect leads to.
//
// It owns the sockets of one trial, and the listener if the sidecar does not listen yet. It
// reads no rules, and does not know which of them are right.
package probing

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

// maxFailures ends the probes of one family. Each may have waited for its whole timeout,
// and more of them would say the same.
const maxFailures = 2

// Try connects to each of targets. The sidecar answers if it listens on the proxy's
// address; otherwise Try listens there and answers itself. The calling goroutine's thread
// has to be in the network namespace.
func Try(ctx context.Context, proxy netip.AddrPort, targets []netip.AddrPort) error {
	// This goroutine makes all sockets, since its thread is in the namespace. Other
	// goroutines may use them afterwards.
	var config net.ListenConfig
	config.SetMultipathTCP(false) // as the sidecar listens; SO_ORIGINAL_DST is for TCP alone
	listening, err := config.Listen(ctx, "tcp", proxy.String())
	if errors.Is(err, unix.EADDRINUSE) {
		return checkEach(ctx, targets)
	}
	if err != nil {
		return fmt.Errorf("listen on the proxy port %s to answer the probe: %w", proxy, err)
	}
	listener, ok := listening.(*net.TCPListener)
	if !ok {
		return fmt.Errorf("listen on the proxy port %s to answer the probe: got a %T", proxy, listening)
	}
	var answering sync.WaitGroup
	var answerErr error
	answering.Go(func() { answerErr = answer(listener, targets) })
	checkErr := checkEach(ctx, targets)
	_ = listener.Close() // ends answer if no connection arrives
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
		if len(failed) == maxFailures || ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

// answer accepts connections until the listener is closed, and answers probes.
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
		// An app that started early. Its connection is reset, as it would be without a
		// sidecar.
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
}
