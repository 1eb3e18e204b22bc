// SPDX-License-Identifier: Apache-2.0

// Package relay moves bytes between an app's TCP connection and its tunnelled
// connection to the target, until both directions are done. It ends each side in the
// way the other side ended.
//
//	relay.Start(ctx, app, conn, relay.Options{HalfCloseTimeout: time.Minute}, func(result relay.Result) {
//		log.Info("connection closed", "reason", result.Reason, "sent", result.Sent, "received", result.Received)
//	})
//
// What the tunnel carries besides bytes decides how (tunnel.Traits).
//
// # A tunnel that carries what TCP carries
//
// The app and the target see what they would see on a direct connection
// (TestLikeADirectConnection). FIN ends one direction, and the other goes on without a
// time limit. A reset of one side is a reset of the other, also after a FIN. A side that
// does not read stops the other side, and no other connection: the relay waits for the
// app before it receives again. Only these ends are the relay's own:
//
//	the tunnel broke    → RST for the app
//	nothing moves for   → RST for both
//	IdleTimeout
//	ctx was cancelled   → RST for both
//	the process dies    → RST for the app, from the kernel (Arm)
//
// An app can reset while the relay waits for the target, or after its FIN. Then no
// goroutine reads from its socket, and a resetWatch looks at it.
//
// If the tunnel has backpressure but no half-closes, the ends are those of the next
// section.
//
// # How the end of one side ends the other otherwise
//
// The tunnel can only close both directions at once. So the two sides are not
// symmetric:
//
//	the target closed   → the app gets every byte, then FIN. What it sends
//	                      afterwards is answered with RST, as by the target
//	the tunnel broke    → RST: half an answer must not look like a whole one
//	the app reset       → the tunnel is aborted at once. Behind the app's FIN one
//	                      that carries no resets is closed: it has everything
//	the app sent FIN    → it has closed, or it has half-closed and waits for the
//	                      answer. Options.AppState says which
//	  closed            → the tunnel is closed, but not within closeDelay of the
//	                      last byte, because the close could overtake it
//	  half-closed       → the tunnel stays until the target closes. If nothing
//	  or unknown          moves for HalfCloseTimeout, the target waits for an
//	                      end of file that the tunnel cannot carry, and the
//	                      app gets RST
//	nothing moves for   → RST: FIN would look like the target's end. If an app
//	IdleTimeout           takes bytes that were held for it, that is movement
//	ctx was cancelled   → RST
//	the process dies    → RST, from the kernel (Arm)
//
// # Apps that read slowly, through a tunnel without backpressure
//
// The proxy-server serves all connections of an agent in one loop. So the relay never
// waits for its app before it receives. It holds the bytes that the app has not taken
// yet, within the limits of Buffers.
//
// If more than half of a connection's limit is held, the relay receives at the app's
// rate (readRate). It does so only as far as the Pacer allows. The Pacer estimates how
// long the other connections wait for this (waitSum), and also measures it (exchange).
// An app that is slower still, and whose buffer is full, gets RST.
//
// # What it never does
//
// It never dials, logs or counts metrics. It never makes a failure look like an end of
// file.
package relay
