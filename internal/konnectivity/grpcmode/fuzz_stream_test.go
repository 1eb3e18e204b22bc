// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// atOnce is the bit of a script's byte that says that the next step happens at the same
// moment, so that goroutines race.
const atOnce = 1 << 7

// FuzzStream plays scripts to a stream. A script without races is compared with the
// model. Of any other the invariants are checked.
func FuzzStream(f *testing.F) {
	for _, script := range [][]step{
		{srvDialOK, appRead, srvData, srvDataLarge, srvDataEmpty, srvClose},
		{srvDialOK, srvData, srvData | atOnce, appClose | atOnce, srvClose, appRead},
		{appGiveUp, waitShort, srvDialOK, srvData, srvClose},
		{appGiveUp | atOnce, srvDialOK | atOnce, srvData, appRead, waitLong},
		{srvDialOK, srvStall, appSendLarge, appClose, srvFlow, waitLong, srvCloseError},
		{srvDialOK, appSendLarge | atOnce, appRead | atOnce, srvData | atOnce, srvBreak | atOnce, appClose},
		{srvDialRefused, srvDialOK},
		{srvDialCls},
		{srvEnd},
		{srvUnknown},
		{waitLong, waitLong, waitShort, waitLong},
	} {
		f.Add(stepBytes(script))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 40 {
			return
		}
		steps, races := stepsOf(script)
		if !slices.Contains(races, true) {
			compare(t, steps)
			return
		}
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			for i, s := range steps {
				w.do(s)
				if !races[i] {
					synctest.Wait()
				}
			}
			w.end()
			w.checkEnd(steps)
			if t.Failed() {
				t.Logf("in the script %v, at once %v\n%s", steps, races, w.journal)
			}
		})
	})
}

func stepBytes(script []step) []byte {
	var b []byte
	for _, s := range script {
		b = append(b, byte(s))
	}
	return b
}

// stepsOf reads a script. The second value has the steps after which the script does
// not wait.
func stepsOf(script []byte) (all []step, races []bool) {
	for _, b := range script {
		all = append(all, step(b&^atOnce)%steps)
		races = append(races, b&atOnce != 0)
	}
	return all, races
}

// checkEnd compares the end that the app saw with the packets of the server. If steps
// happened at once, any of them may have come first.
func (w *world) checkEnd(script []step) {
	said := slices.DeleteFunc(slices.Clone(script), func(s step) bool { return s > srvBreak })
	if len(said) == 0 || said[0] != srvDialOK || !w.dialed.Load() {
		if w.dialed.Load() || w.got.Len() > 0 {
			w.t.Error("a connection that the agent did not make")
		}
		return
	}
	end, bytes := "", 0
	for _, s := range said[1:] {
		bytes += s.bytes()
		switch s {
		case srvData, srvDataLarge, srvDataEmpty:
			continue
		case srvClose:
			end = "end"
		case srvCloseError, srvDataError, srvEnd, srvBreak:
			end = "broken"
		default:
			end = "protocol"
		}
		break
	}
	closed := slices.Contains(script, appClose)
	for _, line := range w.lines[logReceive] {
		_, saw, _ := strings.Cut(line, " ")
		switch {
		case strings.HasSuffix(saw, " bytes"):
		case saw == "closed" && (closed || end == ""): // world.end closes
		case saw != end:
			w.t.Errorf("the app saw %q, want %q", saw, end)
		case w.got.Len() != bytes:
			w.t.Errorf("the app saw the end after %d bytes, want %d", w.got.Len(), bytes)
		}
	}
	all := true
	for _, line := range w.lines[logSend] {
		all = all && strings.HasSuffix(line, " ok")
	}
	if all && w.rpc.wrote.Len() != w.asked.Len() {
		w.t.Errorf("every Send succeeded, and the server got %d of %d bytes", w.rpc.wrote.Len(), w.asked.Len())
	}
}
