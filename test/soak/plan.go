// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Kind is one way to disturb a lab.
type Kind string

// The kinds. TCP survives the short ones, not the long ones.
const (
	KillServer    Kind = "kill server"
	KillServers   Kind = "kill all servers"
	KillAgent     Kind = "kill agent"
	KillAgents    Kind = "kill all agents"
	FreezeServer  Kind = "freeze server"
	FreezeAgent   Kind = "freeze agent"
	HideServer    Kind = "black-hole server"
	HideServerFor Kind = "black-hole server for long"
	PartPod       Kind = "partition pod-seed"
	PartPodFor    Kind = "partition pod-seed for long"
	PartShoot     Kind = "partition seed-shoot"
	LosePod       Kind = "loss pod-seed"
	LoseShoot     Kind = "loss seed-shoot"
	NarrowPod     Kind = "bandwidth pod-seed"
	NarrowShoot   Kind = "bandwidth seed-shoot"
	DelayAgents   Kind = "delay of agents"
	SwapFiles     Kind = "swap client certificate"
	SpoilFiles    Kind = "invalid client certificate"
	ClockAhead    Kind = "wall clock steps ahead"
	ClockBack     Kind = "wall clock steps back"
	PauseTarget   Kind = "target pauses in uploads"
	FewStreams    Kind = "few streams at server"
	// Those of a soak with exits:
	KillExit      Kind = "kill exit"
	RestartExit   Kind = "restart exit"
	FreezeExit    Kind = "freeze exit"
	SwapExitFiles Kind = "swap certificates of exits"
	ChangePolicy  Kind = "change policy of exits"
	SpoilPolicy   Kind = "invalid policy of exits"
	// Stall is in no plan: the machine itself stood still.
	Stall Kind = "standstill of the machine"
)

// span is how long a kind can last, and how strong it can be.
type span struct {
	kind     Kind
	min, max time.Duration
	// level is a probability, bytes a second, milliseconds, or streams.
	low, high float64
	// mild kinds can go on beside any other.
	mild bool
}

// deck returns every kind once. The sidecar gives up a silent server after 10 s. After a
// stall of d the next retransmission comes after at most 2d. On a connection without
// traffic the probes of 4 s may be lost. Up to 3 s therefore break nothing on a machine
// that adds little delay. 12 s break what was being sent. Kills last until the process is
// started again. A clock keeps the time that it was stepped to.
//
// Only a grpc server has streams.
func deck(mode lab.Mode) []span {
	const s = time.Second
	all := []span{
		{kind: KillServer, max: 3 * s},
		{kind: KillServers, max: 2 * s},
		{kind: KillAgent, max: 3 * s},
		{kind: KillAgents, max: 2 * s},
		{kind: FreezeServer, min: s, max: 5 * s},
		{kind: FreezeAgent, min: s, max: 5 * s},
		{kind: HideServer, min: s, max: 3 * s},
		{kind: HideServerFor, min: 11 * s, max: 14 * s},
		{kind: PartPod, min: s, max: 3 * s},
		{kind: PartPodFor, min: 11 * s, max: 14 * s},
		{kind: PartShoot, min: s, max: 4 * s},
		{kind: LosePod, min: 3 * s, max: 8 * s, low: 0.005, high: 0.04},
		{kind: LoseShoot, min: 3 * s, max: 8 * s, low: 0.005, high: 0.04},
		{kind: NarrowPod, min: 3 * s, max: 8 * s, low: 2e6, high: 10e6, mild: true},
		{kind: NarrowShoot, min: 3 * s, max: 8 * s, low: 2e6, high: 10e6, mild: true},
		{kind: DelayAgents, min: 3 * s, max: 8 * s, low: 5, high: 60, mild: true},
		{kind: SwapFiles, max: s, mild: true},
		{kind: SpoilFiles, min: 2 * s, max: 5 * s, mild: true},
		{kind: ClockAhead, max: 3 * s, mild: true},
		{kind: ClockBack, max: 3 * s, mild: true},
		{kind: PauseTarget, min: 11 * s, max: 40 * s, mild: true},
	}
	if mode == lab.GRPC {
		all = append(all, span{kind: FewStreams, max: s, low: 1, high: 20})
	}
	return all
}

// exitDeck returns the kinds that a soak with exits has besides. A tunnel to an exit is
// given up after 10 s without an answer.
func exitDeck() []span {
	const s = time.Second
	return []span{
		{kind: KillExit, max: 3 * s},
		{kind: RestartExit, max: 2 * s},
		{kind: FreezeExit, min: s, max: 5 * s},
		{kind: SwapExitFiles, max: s, mild: true},
		{kind: ChangePolicy, max: s, mild: true},
		{kind: SpoilPolicy, min: 2 * s, max: 5 * s, mild: true},
	}
}

// Disturbance is one fault with its length.
type Disturbance struct {
	Kind  Kind
	Index int // of the server, agent or exit
	For   time.Duration
	Level float64 // a probability, bytes a second, milliseconds, or streams
}

// String is the disturbance as the report shows it.
func (d Disturbance) String() string {
	var b strings.Builder
	b.WriteString(string(d.Kind))
	switch d.Kind {
	case KillServer, KillAgent, FreezeServer, FreezeAgent, HideServer, HideServerFor, KillExit, RestartExit, FreezeExit:
		fmt.Fprintf(&b, " %d", d.Index)
	case LosePod, LoseShoot:
		fmt.Fprintf(&b, " %.1f%%", 100*d.Level)
	case NarrowPod, NarrowShoot:
		fmt.Fprintf(&b, " %.1f MB/s", d.Level/1e6)
	case DelayAgents:
		fmt.Fprintf(&b, " %.0f ms", d.Level)
	case FewStreams:
		fmt.Fprintf(&b, " %d: %.0f", fewStreams, d.Level)
	}
	fmt.Fprintf(&b, ", %s", d.For)
	return b.String()
}

// Step is a calm time, and then disturbances that begin together.
type Step struct {
	Calm         time.Duration
	Disturbances []Disturbance
}

// Plan is what happens to one lab, in this order.
type Plan []Step

// peers is how many servers, and how many agents, a lab has; and exits, if it has any.
const peers = 2

// fewStreams is the index of the server that allows few streams, if there is one.
const fewStreams = 1

// clockStep is how far a step moves the wall clock.
const clockStep = time.Hour

// recovery is the time that a plan assumes for the end of a disturbance. Only the plan's
// arithmetic uses it. The soak waits for as long as it takes.
const recovery = 1500 * time.Millisecond

// NewPlan fills duration with calm and disturbances. The same arguments give the same
// plan. Different modes have different plans. Every kind comes once before any comes
// again.
func NewPlan(seed uint64, mode lab.Mode, duration time.Duration) Plan {
	return newPlan(seed, string(mode), deck(mode), duration)
}

// NewExitPlan does the same for a soak with exits.
func NewExitPlan(seed uint64, mode lab.Mode, duration time.Duration) Plan {
	return newPlan(seed, string(mode)+" with exits", slices.Concat(deck(mode), exitDeck()), duration)
}

func newPlan(seed uint64, name string, deck []span, duration time.Duration) Plan {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	r := rand.New(rand.NewPCG(seed, h.Sum64()))
	var plan Plan
	var cards []span
	draw := func() span {
		if len(cards) == 0 {
			cards = slices.Clone(deck)
			r.Shuffle(len(cards), func(i, j int) { cards[i], cards[j] = cards[j], cards[i] })
		}
		c := cards[0]
		cards = cards[1:]
		return c
	}
	// The last calm shows that the last disturbance left nothing behind.
	for left, tries := duration-recovery, 3; ; {
		step := Step{Calm: between(r, 3*time.Second, 8*time.Second)}
		card := draw()
		step.Disturbances = append(step.Disturbances, card.pick(r))
		if len(cards) > 0 && cards[0].mild != card.mild && cards[0].mild {
			step.Disturbances = append(step.Disturbances, draw().pick(r))
		}
		need := step.Calm + step.length() + recovery
		switch {
		case need <= left || len(plan) == 0:
			plan, left = append(plan, step), left-need
		case tries == 0:
			return plan
		default:
			tries-- // another step may be shorter
		}
	}
}

// length returns the length of the longest disturbance.
func (s Step) length() time.Duration {
	var longest time.Duration
	for _, d := range s.Disturbances {
		longest = max(longest, d.For)
	}
	return longest
}

func (c span) pick(r *rand.Rand) Disturbance {
	return Disturbance{
		Kind: c.kind, Index: r.IntN(peers),
		For:   between(r, c.min, c.max),
		Level: c.low + r.Float64()*(c.high-c.low),
	}
}

// between returns a random duration in steps of 100 ms.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return (low + time.Duration(r.Int64N(int64(high-low)+1))).Round(100 * time.Millisecond)
}

// has reports whether one of these kinds is in the plan.
func (p Plan) has(kinds ...Kind) bool {
	return slices.ContainsFunc(p, func(s Step) bool {
		return slices.ContainsFunc(s.Disturbances, func(d Disturbance) bool { return slices.Contains(kinds, d.Kind) })
	})
}

// String lists the plan.
func (p Plan) String() string {
	var b strings.Builder
	for i, step := range p {
		fmt.Fprintf(&b, "%3d. calm %-5s", i+1, step.Calm)
		for _, d := range step.Disturbances {
			fmt.Fprintf(&b, "  %s;", d)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
