// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"fmt"
	"slices"
	"sync"
)

// kept is how many findings are printed. A broken product has thousands.
const kept = 40

// tally judges connections as they end, and counts them.
type tally struct {
	journal *journal

	mu       sync.Mutex
	kinds    map[string]*kindTally
	outcomes []outcome // those with a target's side, which is judged at the end
	suspects []outcome // found broken; judged again at the end with all that is known then
	findings []string
	more     int // number of findings beyond kept
	counts
}

// counts are compared with the metrics.
type counts struct {
	made      int64 // connections that the sidecar accepted
	resets    int64 // connections with a reset that their app did not make
	abandoned int64 // connections whose app did not wait for the end
	stalled   int64 // connections whose app did not read
	sent, got int64 // bytes
	excused   int64
}

// kindTally is one line of the summary.
type kindTally struct {
	made, excused, broken int64
	endings               map[ending]int64
}

func newTally(j *journal) *tally { return &tally{journal: j, kinds: map[string]*kindTally{}} }

// add judges one connection that has ended.
func (t *tally) add(o outcome) {
	verdict, _ := judge(o, t.journal.excuse(o, o.ended))
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.kinds[o.kind]
	if k == nil {
		k = &kindTally{endings: map[ending]int64{}}
		t.kinds[o.kind] = k
	}
	k.made++
	k.endings[o.shown()]++
	t.count(o)
	if o.id != 0 {
		t.outcomes = append(t.outcomes, o)
	}
	switch verdict {
	case excused:
		k.excused++
		t.excused++
	case broken:
		t.suspects = append(t.suspects, o)
	}
}

// judgeSuspects judges again. A standstill of the machine may be known only after the
// connections that it ended.
func (t *tally) judgeSuspects() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.suspects {
		k := t.kinds[o.kind]
		switch verdict, why := judge(o, t.journal.excuse(o, o.ended)); verdict {
		case excused:
			k.excused++
			t.excused++
		case broken:
			k.broken++
			t.find("%s: %s", o, why)
		}
	}
	t.suspects = nil
}

func (t *tally) count(o outcome) {
	t.sent += o.sent
	t.got += o.got
	if !o.refused {
		t.made++
	}
	switch {
	case o.ending == resetEnd:
		t.resets++
	case o.ending == abandoned, o.expected == oneWay:
		t.abandoned++
	}
	if o.expected == tooSlow {
		t.stalled++
	}
}

// find records a finding. The caller holds mu.
func (t *tally) find(format string, args ...any) {
	if len(t.findings) == kept {
		t.more++
		return
	}
	t.findings = append(t.findings, fmt.Sprintf(format, args...))
}

// note records a finding.
func (t *tally) note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.find(format, args...)
}

// snapshot returns the present counts and the number of findings.
func (t *tally) snapshot() (c counts, found int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts, len(t.findings) + len(t.suspects) + t.more
}

// report returns the findings.
func (t *tally) report() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := slices.Clone(t.findings)
	if t.more > 0 {
		found = append(found, fmt.Sprintf("… and %d more", t.more))
	}
	return found
}

// judgeTargets compares both sides of every connection, once all have ended.
func (t *tally) judgeTargets(f *far) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.outcomes {
		r := f.record(o.id)
		// A connection that never arrived may have been lost as late as this. The app's
		// bytes wait for the dial, and then for the close of its tunnel.
		until := o.ended.Add(dialBudget + closeDelay)
		if r != nil {
			until = r.ended
		}
		switch verdict, why := judgeTarget(o, r, t.journal.excuse(o, until)); verdict {
		case excused:
			t.kinds[o.kind].excused++
			t.excused++
		case broken:
			t.kinds[o.kind].broken++
			t.find("%s: %s", o, why)
		}
	}
}

// shown returns the ending for the summary.
func (o outcome) shown() ending {
	if o.ending == cleanEnd && o.got < o.want {
		return "early end"
	}
	return o.ending
}

// String describes a connection in a finding.
func (o outcome) String() string {
	return fmt.Sprintf("%s %d, %s to %s, %s to %s", o.kind, o.id, o.local, o.to, o.began.Format(clock), o.ended.Format(clock))
}

// clock is the format of times in findings, the same as in the sidecar's log.
const clock = "15:04:05.000"
