// SPDX-License-Identifier: Apache-2.0

// Package soak runs mixed traffic of unmodified clients through the product while
// servers, agents, links and certificates are disturbed at random. Then it looks for
// anything that was lost: a byte, a goroutine, a descriptor, a connection at a peer.
//
//	err := soak.Run(ctx, soak.Config{Seed: 42, Duration: 10 * time.Minute, Out: os.Stdout})
//
// # How it knows what is right
//
// Every connection of [traffic] carries streams of its own, generated from its number
// ([stream]). The target checks what it gets, the app checks the answer, and both report.
// A byte that is wrong, doubled, out of order or another connection's is therefore found
// where it appears.
//
// Only [judge] and [judgeTarget] decide what may happen to a connection. Without a
// disturbance it must be whole, and end as its target or its app ended it. A disturbance
// excuses less only if it struck while the connection lived, and if the protocol has no
// remedy for it ([Disturbance.excuses]):
//
//	a server was killed, or its balancer, or out of reach
//	for longer than TCP waits                               RST
//	an agent was killed     a clean but early end (konnectivity tells neither
//	                        server nor client that the target did not close),
//	                        or RST for an app that wrote after that
//	anything but new files  an app that sends and closes without waiting for an
//	                        answer may have the end of what it sent thrown away
//	no server was in reach for longer than TCP waits   a dial may fail
//	a tunnel to an exit was cut up to [noticing] before        a dial may fail
//
// Everything else excuses nothing: frozen peers, lost packets, delay, little bandwidth,
// short partitions, other certificates, steps of the sidecar's wall clock, servers that
// allow few streams, targets that pause. An app that connects after a kill must not
// notice the kill. A wrong byte and a connection that hangs are never excused. Nor is an
// early end if a reset was due. The sidecar's own log is held to the same rules: it names
// the server of each connection.
//
// # The plan
//
// [NewPlan] makes the disturbances and the calm between them from the seed: the same seed
// is the same plan. A disturbance is over when it has been undone, every server has every
// agent again, and connections succeed.
//
// Two kinds need more than the lab has. The sidecar is built again so that its wall clock
// can be stepped (package wallclock), and its log is read accordingly. A target that
// stops reading stops its agent for all clients, which is upstream's limit. Targets that
// pause therefore have a server, an agent and a sidecar of their own.
//
// If a plan has [FewStreams], nginx stands before one of the grpc servers
// ([lab.NginxGRPC]), since the real one cannot be told to allow few streams.
//
// # What it never does
//
// It measures no speed. Checks depend on time only as a guard against hanging.
package soak
