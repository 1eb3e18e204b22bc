// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// TestUnmodifiedClientsReachTheShootThroughAnExit: unmodified clients get every byte, in
// order, as streams of a few tunnels, and leave nothing behind.
func TestUnmodifiedClientsReachTheShootThroughAnExit(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newExitRig(t, lab.Options{Mode: mode})
		before := r.metrics(t)
		t.Run("curl reaches pods, services and nodes", r.testKinds)
		t.Run("half-closing clients in a crowd of closing ones", r.testHalfCloseInACrowd)
		t.Run("2,000 connections, 64 at a time", r.testManyConnections)
		t.Run("64 MiB in both directions", r.testBothWays)
		r.wantNoStreams(t)
		r.wantOrdinaryEnds(t, before)
		const open = 40
		quiet := r.startQuiet(t, open)
		r.wantStreams(t, open)
		quiet.finish()
		r.wantNoStreams(t)
	})
}

// testBothWays moves 64 MiB down and 64 MiB up at the same time.
func (r *rig) testBothWays(t *testing.T) {
	const size = 64 << 20
	r.targets.Release()
	conn := r.startUnread(t, size)
	sent := r.startUpload(t, lab.ShootPod(lab.IPv6, 5), size)
	if err := errors.Join(readAll(conn, size), conn.Close()); err != nil {
		t.Errorf("down: %v", err)
	}
	if err := <-sent; err != nil {
		t.Errorf("up: %v", err)
	}
	r.wantSunk(t, size)
}

// TestAnExitThatIsPreferred: with --exit-policy=prefer, connections go without an exit
// while none answers, and through it again when it is back.
func TestAnExitThatIsPreferred(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newExitRig(t, lab.Options{Mode: mode}, "--exit-policy=prefer")
		r.wantWay(t, "exit")
		r.Exits[0].Kill()
		r.wantServes(t)
		r.wantWay(t, "plain")
		if err := r.Exits[0].Start(labtest.Context(t, hang)); err != nil {
			t.Fatal(err)
		}
		r.wantWay(t, "exit")
	})
}

// wantWay waits until new connections go this way, and no other.
func (r *rig) wantWay(t *testing.T, way string) {
	t.Helper()
	const metric = "proxy_client_exit_dials_total"
	eventually(t, "connections to go the way "+way, func(ctx context.Context) error {
		before, err := r.SidecarMetrics(ctx)
		if err != nil {
			return err
		}
		const dials = 5
		for range dials {
			if err := r.works(ctx); err != nil {
				return err
			}
		}
		after, err := r.SidecarMetrics(ctx)
		if err != nil {
			return err
		}
		if grown := increases(metric, before, after); len(grown) != 1 || grown[fmt.Sprintf("way=%q", way)] < dials {
			return fmt.Errorf("%s has grown by %v", metric, grown)
		}
		return nil
	})
}

// TestExitsAreRestarted: two exits are restarted, one after the other. No new connection
// fails, and those that were open before go on until they end, within the exit's time for
// them.
func TestExitsAreRestarted(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newExitRig(t, lab.Options{Mode: mode, Exits: 2})
		began := time.Now()
		fresh := r.startFresh(t)
		fresh.await(t, 25)
		for _, exit := range r.Exits {
			var stopped sync.WaitGroup
			stopped.Go(func() { exit.Stop(hang) })
			fresh.await(t, 50)
			stopped.Wait()
			if err := exit.Start(labtest.Context(t, hang)); err != nil {
				t.Fatal(err)
			}
			fresh.await(t, 50)
		}
		attempts := fresh.end(t)
		wantNoneFailed(t, attempts)
		logSlowest(t, attempts, began)
	})
}
