// SPDX-License-Identifier: Apache-2.0

// Package bench measures what the product costs, side by side with everything else that
// can reach a shoot through a konnectivity proxy-server.
//
//	results, err := bench.Run(ctx, bench.Config{Out: os.Stdout})
//
// Each contender (see [Contenders]) does the same work in turn, through the same
// unmodified upstream server and agent. There are several rounds, each in another order.
// A comparison is always a ratio within one round. The report gives the median of the
// rounds' ratios, and their spread. Figures of one machine say nothing about another
// machine; ratios say more.
//
// Four kinds of processes take part beside upstream's:
//
//   - drivers open connections and do the work, one inside the pod and one inside
//     the shoot. A driver is also the client of the contenders that run in their
//     client's process.
//   - a server in the shoot is the target of all of them.
//   - sidecars: the product as shipped, and a SOCKS5 sidecar, the design that
//     hosted control planes run today. The CPU and the memory in the reports are
//     the sidecars' alone, as the kernel accounts for them (proc(5)).
//   - this program waits, and reads clocks.
//
// All but the last are this program again, started with another role: see [Play].
package bench
