// SPDX-License-Identifier: Apache-2.0

package soak_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/soak"
)

func TestTheSameSeedIsTheSamePlan(t *testing.T) {
	const length = 10 * time.Minute
	plan := soak.NewPlan(42, "grpc", length)
	if diff := cmp.Diff(plan, soak.NewPlan(42, "grpc", length)); diff != "" {
		t.Errorf("seed 42 is another plan the second time: %s", diff)
	}
	for what, other := range map[string]soak.Plan{
		"another seed":  soak.NewPlan(43, "grpc", length),
		"the other lab": soak.NewPlan(42, "http-connect", length),
	} {
		if cmp.Equal(plan, other) {
			t.Errorf("%s gives the same plan", what)
		}
	}
}

func TestAPlanFillsItsTime(t *testing.T) {
	for _, length := range []time.Duration{0, time.Second, time.Minute, 10 * time.Minute, time.Hour} {
		for seed := range uint64(20) {
			plan := soak.NewPlan(seed, "grpc", length)
			var sum time.Duration
			for _, step := range plan {
				longest := time.Duration(0)
				for _, d := range step.Disturbances {
					longest = max(longest, d.For)
				}
				if step.Calm < time.Second || longest > 40*time.Second || len(step.Disturbances) == 0 {
					t.Fatalf("seed %d: a step is %v", seed, step)
				}
				sum += step.Calm + longest
			}
			if len(plan) == 0 {
				t.Fatalf("seed %d: nothing happens in %s", seed, length)
			}
			if len(plan) > 1 && sum > length {
				t.Errorf("seed %d: a plan of %s takes %s", seed, length, sum)
			}
			if length >= time.Minute && sum < length/2 {
				t.Errorf("seed %d: a plan of %s is over after %s", seed, length, sum)
			}
		}
	}
}

func TestTenMinutesHaveEveryDisturbance(t *testing.T) {
	for seed := range uint64(20) {
		seen := map[soak.Kind]bool{}
		for _, step := range soak.NewPlan(seed, "grpc", 10*time.Minute) {
			for _, d := range step.Disturbances {
				seen[d.Kind] = true
			}
		}
		if len(seen) != 22 {
			t.Errorf("seed %d has %d of 22 kinds: %v", seed, len(seen), seen)
		}
		for _, step := range soak.NewExitPlan(seed, "grpc", 12*time.Minute) {
			for _, d := range step.Disturbances {
				seen[d.Kind] = true
			}
		}
		if len(seen) != 28 {
			t.Errorf("seed %d with exits has %d of 28 kinds: %v", seed, len(seen), seen)
		}
	}
}
