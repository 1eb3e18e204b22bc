// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	calm       = excuse{}
	serverDied = all(KillServer)
	agentDied  = all(KillAgent)
	lateWrite  = excuse{early: true, late: true, tail: true}
	frozen     = all(FreezeAgent)
	cutOff     = all(PartPodFor)
)

// all returns what a kind excuses for the connections that it hit.
func all(k Kind) excuse {
	struck, lasting := Disturbance{Kind: k}.excuses()
	return struck.or(lasting)
}

func TestVerdictOnAnApp(t *testing.T) {
	flipped := &wrongByteError{at: 7, got: 1, want: 2}
	for _, c := range []struct {
		name string
		o    outcome
		x    excuse
		want judgement
	}{
		{"early end in calm", outcome{want: 10, got: 9, ending: cleanEnd}, calm, broken},
		{"nothing and an end in calm", outcome{want: 10, ending: cleanEnd}, calm, broken},
		{"early end although only a server died", outcome{want: 10, got: 9, ending: cleanEnd}, serverDied, broken},
		{"early end although only a peer was frozen", outcome{want: 10, got: 9, ending: cleanEnd}, frozen, broken},
		{"early end with its agent", outcome{want: 10, got: 9, ending: cleanEnd}, agentDied, excused},
		{"reset in calm", outcome{want: 10, got: 9, ending: resetEnd}, calm, broken},
		{"reset behind the last byte in calm", outcome{want: 10, got: 10, ending: resetEnd}, calm, broken},
		{"reset although only a peer was frozen", outcome{want: 10, got: 9, ending: resetEnd}, frozen, broken},
		{"reset with its server", outcome{want: 10, got: 9, ending: resetEnd}, serverDied, excused},
		{"reset of a reader although only an agent died", outcome{want: 10, got: 9, ending: resetEnd}, agentDied, broken},
		{"reset of a writer whose agent had died", outcome{want: 10, got: 9, ending: resetEnd}, lateWrite, excused},
		{"reset of a dial while a peer was frozen", outcome{want: 10, ending: resetEnd}, frozen, broken},
		{"reset of a dial without a server in reach", outcome{want: 10, ending: resetEnd}, excuse{dial: true}, excused},
		{"reset in the middle although only dials could fail", outcome{want: 10, got: 1, ending: resetEnd}, excuse{dial: true}, broken},
		{"early end without a server in reach", outcome{want: 10, got: 9, ending: cleanEnd}, cutOff, broken},
		{"flipped byte", outcome{want: 10, got: 7, ending: oddEnd, err: flipped}, serverDied.or(lateWrite), broken},
		{"byte too many", outcome{want: 10, got: 11, ending: cleanEnd}, serverDied.or(lateWrite), broken},
		{"hung", outcome{want: 10, got: 9, ending: hungEnd}, serverDied.or(lateWrite), broken},
		{"not accepted", outcome{want: 10, ending: oddEnd, err: syscall.ECONNREFUSED}, serverDied.or(lateWrite), broken},
		{"reset although only a clock was stepped", outcome{want: 10, got: 9, ending: resetEnd}, all(ClockAhead), broken},
		{"reset although only its target paused", outcome{want: 10, ending: resetEnd}, all(PauseTarget), broken},
		{"reset with its server's balancer", outcome{want: 10, got: 9, ending: resetEnd}, all(FewStreams), excused},
		{"failed dial that looks like an end", outcome{expected: noTarget, ending: cleanEnd}, serverDied.or(lateWrite), broken},
		{"failed dial that said something", outcome{expected: noTarget, want: 1, got: 1, ending: resetEnd}, calm, broken},
		{"slow reader that sees an end", outcome{expected: tooSlow, want: 10, got: 5, ending: cleanEnd}, calm, broken},
		{"question without an answer that sees an end", outcome{expected: noEnd, ending: cleanEnd}, calm, broken},
		{"whole", outcome{want: 10, got: 10, ending: cleanEnd}, calm, right},
		{"failed dial", outcome{expected: noTarget, ending: resetEnd}, calm, right},
		{"slow reader", outcome{expected: tooSlow, want: 10, got: 5, ending: resetEnd}, calm, right},
		{"question without an answer", outcome{expected: noEnd, ending: resetEnd}, calm, right},
		{"app that left", outcome{expected: justLeave, want: 10, got: 3, ending: abandoned}, calm, right},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, why := judge(c.o, c.x); got != c.want {
				t.Errorf("judged %v (%s), want %v", got, why, c.want)
			}
		})
	}
}

func TestVerdictOnATarget(t *testing.T) {
	ended := time.Now()
	s := script{up: 10, down: 4, rounds: 3}
	for _, c := range []struct {
		name string
		o    outcome
		r    *record
		x    excuse
		want judgement
	}{
		{"lost tail in calm", outcome{expected: oneWay, sent: 30}, &record{script: s, got: 29, ended: ended}, calm, broken},
		{"everything lost in calm", outcome{expected: oneWay, sent: 30}, nil, calm, broken},
		{"lost tail although only a clock was stepped", outcome{expected: oneWay, sent: 30}, &record{script: s, got: 29, ended: ended}, all(ClockBack), broken},
		{"lost tail while its agent was frozen", outcome{expected: oneWay, sent: 30}, &record{script: s, got: 29, ended: ended}, frozen, excused},
		{"flipped byte", outcome{sent: 30}, &record{script: s, got: 3, wrong: errors.New("byte 3"), ended: ended}, serverDied, broken},
		{"invented byte", outcome{sent: 30}, &record{script: s, got: 31, ended: ended}, serverDied, broken},
		{"answered what has not arrived", outcome{sent: 30, got: 5}, &record{script: s, got: 19, ended: ended}, serverDied, broken},
		{"answered without a target", outcome{sent: 10, got: 1}, nil, serverDied, broken},
		{"never ended", outcome{sent: 30, got: 12}, &record{script: s, got: 30}, calm, broken},
		{"all rounds", outcome{sent: 30, got: 12}, &record{script: s, got: 30, ended: ended}, calm, right},
		{"all sent", outcome{expected: oneWay, sent: 30}, &record{script: s, got: 30, ended: ended}, calm, right},
		{"greeted only", outcome{got: 6000, greeting: 6000}, nil, serverDied, right},
		{"unfinished round", outcome{sent: 20, got: 5}, &record{script: s, got: 20, ended: ended}, serverDied, right},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, why := judgeTarget(c.o, c.r, c.x); got != c.want {
				t.Errorf("judged %v (%s), want %v", got, why, c.want)
			}
		})
	}
}

// TestExcusesAreForThoseWhoWereThere: only what struck during a connection's life excuses
// it. A disturbance that struck before it began does not, even if it goes on. One that
// began after the app last wrote does not excuse a reset caused by writing.
func TestExcusesAreForThoseWhoWereThere(t *testing.T) {
	start := time.Now()
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	j := &journal{entries: []*entry{
		{Disturbance: Disturbance{Kind: FreezeAgent}, began: at(-9), struck: at(-8), ended: at(-5)},
		{Disturbance: Disturbance{Kind: KillServer, Index: 1}, began: at(2), struck: at(3), ended: at(6)},
		{Disturbance: Disturbance{Kind: KillAgent}, began: at(8)},
	}}
	for _, c := range []struct {
		name            string
		from, to, wrote int
		want            excuse
	}{
		{"before", 0, 1, 0, calm},
		{"between", 7, 7, 7, calm},
		{"began when the first had struck", 4, 7, 7, calm},
		{"across the first", 1, 7, 7, serverDied},
		{"ended as the first struck", 1, 3, 3, serverDied},
		{"began as the first struck", 3, 3, 3, serverDied},
		{"into the second, which is being done", 7, 9, 7, agentDied},
		{"into the second, writing", 7, 9, 9, lateWrite},
		{"began while a peer was frozen", -7, -6, -7, frozen},
		{"across both", 1, 9, 1, serverDied.or(agentDied)},
	} {
		o := outcome{began: at(c.from), ended: at(c.to), wrote: at(c.wrote)}
		if got := j.excuse(o, o.ended); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	few := &journal{entries: []*entry{{Disturbance: Disturbance{Kind: FewStreams, Index: 0}, began: at(2), struck: at(3), ended: at(6)}}}
	if few.broke(0, at(0), at(9)) || !few.broke(fewStreams, at(0), at(9)) || few.broke(fewStreams, at(4), at(9)) {
		t.Error("the balancer's end broke another server, another time, or nothing")
	}
	if j.broke(0, at(0), at(9)) || !j.broke(1, at(0), at(9)) || j.broke(1, at(4), at(9)) {
		t.Error("the kill of server 1 broke another server, another time, or nothing")
	}
}

// TestExcusesGoByTheRealLength: on a slow machine a short partition may last for longer
// than TCP survives. The real length counts.
func TestExcusesGoByTheRealLength(t *testing.T) {
	start := time.Now()
	o := outcome{began: start, ended: start.Add(time.Minute)}
	for _, c := range []struct {
		kind  Kind
		lasts time.Duration
		want  excuse
	}{
		{PartPod, 3 * time.Second, all(PartPod)},
		{PartPod, 6 * time.Second, all(PartPodFor)},
		{HideServer, 3 * time.Second, all(HideServer)},
		{HideServer, 6 * time.Second, all(HideServerFor)},
		{FreezeServer, 6 * time.Second, all(FreezeServer)},
		{FreezeServer, 11 * time.Second, all(HideServerFor)},
		{FreezeAgent, 11 * time.Second, all(FreezeAgent)},
		{PartShoot, 7 * time.Second, all(PartShoot)},
		{PartShoot, 11 * time.Second, all(KillAgents)},
		{Stall, 6 * time.Second, all(Stall)},
	} {
		j := &journal{entries: []*entry{{
			Disturbance: Disturbance{Kind: c.kind}, began: start, struck: start,
			undone: start.Add(c.lasts), ended: start.Add(c.lasts),
		}}}
		if got := j.excuse(o, o.ended); got != c.want {
			t.Errorf("%s of %s excuses %+v, want %+v", c.kind, c.lasts, got, c.want)
		}
		if got := j.broke(0, o.began, o.ended); got != c.want.reset {
			t.Errorf("%s of %s breaks legs: %v, want %v", c.kind, c.lasts, got, c.want.reset)
		}
	}
}

func TestEndings(t *testing.T) {
	for err, want := range map[error]ending{
		io.EOF: cleanEnd, syscall.ECONNRESET: resetEnd, syscall.EPIPE: resetEnd,
		syscall.ECONNREFUSED: oddEnd, io.ErrUnexpectedEOF: oddEnd, syscall.ETIMEDOUT: hungEnd,
	} {
		if got := endingOf(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}

func TestCheckerFindsTheFirstWrongByte(t *testing.T) {
	var text bytes.Buffer
	if _, err := io.CopyN(&text, stream(9, toApp), 1000); err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]*checker{"another connection": newChecker(8, toApp), "the other direction": newChecker(9, toTarget)} {
		if n, err := other.Write(text.Bytes()); err == nil || n > 8 {
			t.Errorf("%d bytes of the stream pass as those of %s", n, name)
		}
	}
	c := newChecker(9, toApp)
	if _, err := c.Write(text.Bytes()[:600]); err != nil {
		t.Fatal(err)
	}
	text.Bytes()[700] ^= 1
	var wrong *wrongByteError
	if n, err := c.Write(text.Bytes()[600:]); n != 100 || !errors.As(err, &wrong) || wrong.at != 700 || c.n != 700 {
		t.Errorf("a wrong byte 700 gives %d, %v", n, err)
	}
}

func TestTextCheckerWantsAllAndNoMore(t *testing.T) {
	if _, err := newTextChecker("hello").Write([]byte("hello")); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"hellO", "hello!"} {
		if _, err := newTextChecker("hello").Write([]byte(bad)); err == nil {
			t.Errorf("%q passes as hello", bad)
		}
	}
}

func TestScripts(t *testing.T) {
	s := script{id: 77, up: 10, down: 4, rounds: 3, pause: 300 * time.Millisecond, stop: 30 * time.Second, targetCloses: true}
	if got, err := parseScript(s.String()); err != nil || got != s {
		t.Errorf("%q reads as %+v, %v", s, got, err)
	}
	for _, bad := range []string{"", "\n", "GET / HTTP/1.1\r\n", strings.Replace(s.String(), "77", "077", 1), " " + s.String()} {
		if got, err := parseScript(bad); err == nil {
			t.Errorf("%q reads as %+v", bad, got)
		}
	}
	for answered, want := range map[int64]int64{-5: 0, 0: 0, 1: 10, 4: 10, 5: 20, 12: 30} {
		if got := s.needs(answered); got != want {
			t.Errorf("%d bytes of answers need %d of questions, want %d", answered, got, want)
		}
	}
}
