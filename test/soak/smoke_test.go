// SPDX-License-Identifier: Apache-2.0

package soak_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/soak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if left := lab.Leftovers(); len(left) != 0 {
		fmt.Fprintf(os.Stderr, "FAIL: the tests left on the machine: %q\n", left)
		code = max(code, 1)
	}
	os.Exit(code)
}

// TestSoakSmoke runs for some seconds what `make soak` runs for ten minutes. It keeps the
// soak itself working, and every run meets the commonest faults.
func TestSoakSmoke(t *testing.T) {
	labtest.RequireRoot(t)
	const s = time.Second
	plan := soak.Plan{
		{Calm: 3 * s, Disturbances: []soak.Disturbance{{Kind: soak.KillServer, Index: 1, For: s}, {Kind: soak.SwapFiles}}},
		{Calm: 3 * s, Disturbances: []soak.Disturbance{{Kind: soak.KillAgent, For: s}}},
		{Calm: 3 * s, Disturbances: []soak.Disturbance{{Kind: soak.PartPod, For: s}}},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // a guard against hanging
	defer cancel()
	if err := soak.Run(ctx, soak.Config{Seed: 1, Plan: plan, Out: t.Output()}); err != nil {
		t.Error(err)
	}
}
