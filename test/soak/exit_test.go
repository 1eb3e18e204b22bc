// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"testing"
	"time"
)

// TestVerdictWithExits: an exit's streams end in a reset if their tunnel breaks. No end
// comes early, and nothing else is lost.
func TestVerdictWithExits(t *testing.T) {
	early, reset := outcome{want: 10, got: 9, ending: cleanEnd}, outcome{want: 10, got: 9, ending: resetEnd}
	dial := outcome{want: 10, ending: resetEnd}
	for _, c := range []struct {
		name string
		kind Kind
		o    outcome
		want judgement
	}{
		{"early end with its agent", KillAgent, early, broken},
		{"early end with its exit", KillExit, early, broken},
		{"reset with its agent", KillAgent, reset, excused},
		{"reset with its exit", RestartExit, reset, excused},
		{"reset although only a peer was frozen", FreezeExit, reset, broken},
		{"reset although only certificates were swapped", SwapExitFiles, reset, broken},
		{"reset although only the policy changed", ChangePolicy, reset, broken},
		{"reset although the policy in use was good", SpoilPolicy, reset, broken},
		{"reset of a dial without a server in reach", PartPodFor, dial, excused},
		{"reset of a dial in calm", SwapFiles, dial, broken},
		{"reset although the partition was short", PartShoot, reset, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			c.o.began, c.o.ended = began, began.Add(time.Second)
			at := began.Add(time.Millisecond)
			j := journal{exits: true, entries: []*entry{{Disturbance: Disturbance{Kind: c.kind}, began: at, struck: at, undone: at, ended: at}}}
			if got, why := judge(c.o, j.excuse(c.o, c.o.ended)); got != c.want {
				t.Errorf("the verdict is %v (%s), want %v", got, why, c.want)
			}
			if may := j.mayReset(c.o.began, c.o.ended); may != (c.want == excused) && c.o.got != 0 && c.o.ending == resetEnd {
				t.Errorf("a reset may happen: %t", may)
			}
		})
	}
}

// TestDialIntoACutTunnel: a dial whose tunnel has just been cut may fail, and only if
// the app has got nothing.
func TestDialIntoACutTunnel(t *testing.T) {
	struck := time.Now()
	for _, c := range []struct {
		name  string
		kind  Kind
		after time.Duration // since the disturbance
		got   int64
		want  judgement
	}{
		{"soon", HideServer, time.Second, 0, excused},
		{"soon after a death", KillAgent, time.Millisecond, 0, excused},
		{"later", HideServer, noticing, 0, broken},
		{"after some bytes", HideServer, time.Second, 9, broken},
		{"of a frozen peer", FreezeExit, time.Second, 0, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := journal{exits: true, entries: []*entry{{Disturbance: Disturbance{Kind: c.kind}, began: struck, struck: struck}}}
			o := outcome{want: 10, got: c.got, ending: resetEnd, began: struck.Add(c.after), ended: struck.Add(c.after + 5*time.Second)}
			if got, why := judge(o, j.excuse(o, o.ended)); got != c.want {
				t.Errorf("the verdict is %v (%s), want %v", got, why, c.want)
			}
		})
	}
}

// TestTheLogOfACutDial: what the verdict excuses, the sidecar's log may name, and nothing else.
func TestTheLogOfACutDial(t *testing.T) {
	struck := time.Now()
	for _, c := range []struct {
		name   string
		reason string
		kind   Kind
		began  time.Duration // since the disturbance
		took   time.Duration
		fine   bool
	}{
		{"in flight", "exit_unreachable", KillAgent, -time.Millisecond, time.Second, true},
		{"soon", "exit_unreachable", KillExit, time.Second, time.Second, true},
		{"in flight, through the balancer that ends", "exit_unreachable", FewStreams, -time.Millisecond, 2 * time.Millisecond, true},
		{"silent", "timeout", HideServer, time.Second, 6 * time.Second, true},
		{"later", "exit_unreachable", KillAgent, noticing, time.Second, false},
		{"for too long", "timeout", HideServer, time.Second, 2 * cutDial, false},
		{"of a frozen peer", "exit_unreachable", FreezeExit, time.Second, time.Second, false},
	} {
		j := &journal{exits: true, entries: []*entry{{Disturbance: Disturbance{Kind: c.kind}, began: struck, struck: struck}}}
		began := struck.Add(c.began)
		complaint := (&auditor{journal: j}).complaintNotMade(line{Reason: c.reason, Time: began.Add(c.took)}, began)
		if (complaint == "") != c.fine {
			t.Errorf("%s: the complaint is %q", c.name, complaint)
		}
	}
}
