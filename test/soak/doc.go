// SPDX-License-Identifier: Apache-2.0

// Package soak runs mixed traffic of unmodified clients through the product
// while servers, agents, links and certificates are disturbed at random, and
// then looks for anything that was lost: a byte, a goroutine, a descriptor, a
// connection at a peer.
//
//	err := soak.Run(ctx, soak.Config{Seed: 42, Duration: 10 * time.Minute, Out: os.Stdout})
//
// # How it knows what is right
//
// Every connection of [traffic] carries streams of its own, generated from its
// number ([stream]); the target checks what it gets, the app what comes back,
// and both tell. So a byte that is wrong, doubled, out of order or another
// connection's is found where it appears.
//
// What may happen to a connection is decided by [judge] and [judgeTarget]
// alone. By itself every connection must be whole and end as its target, or its
// app, ended it. Only a disturbance that struck while it lived, of a kind for
// which the protocol has no cure, excuses less ([Disturbance.excuses]):
//
//	a server was killed, or its balancer, or out of reach
//	for longer than TCP waits                               RST
//	an agent was killed     a clean but early end (konnectivity tells neither
//	                        server nor client that the target did not close),
//	                        or RST for an app that wrote after that
//	anything but new files  an app that sends and closes without waiting for an
//	                        answer may have the end of what it sent thrown away
//	no server was in reach for longer than TCP waits   a dial may fail
//
// Everything else (frozen peers, lost packets, delay, little bandwidth, short
// partitions, other certificates, steps of the sidecar's wall clock, servers that
// allow few streams, targets that pause) excuses nothing, and whoever connects after a
// kill must not notice it. A wrong byte and a connection that hangs are never
// excused, nor is an early end where a reset was due. The sidecar's own log is
// held to the same rules: it names the server that each connection went by.
//
// # The plan
//
// [NewPlan] makes the disturbances and the calm between them from the seed: the
// same seed is the same plan. A disturbance is over when it has been undone,
// every server has every agent again, and connections succeed.
//
// Two kinds need more than the lab has. So that the sidecar's wall clock can be
// stepped, it is built anew (package wallclock); its log is read accordingly. And a
// target that stops reading stops its agent for everybody, which is upstream's
// limit: those that pause have a server, an agent and a sidecar of their own.
//
// Where a plan has [FewStreams], nginx stands before one of the grpc servers
// ([lab.NginxGRPC]), since the real one cannot be told to allow few streams.
//
// # What it never does
//
// It measures no speed, and no check depends on time but guards against hanging.
package soak
