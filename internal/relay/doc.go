// SPDX-License-Identifier: Apache-2.0

// Package relay moves bytes between an app's TCP connection and its tunnelled
// connection to the target, until both directions are done, and ends each side
// the way the other side ended.
//
//	relay.Start(ctx, app, conn, relay.Options{HalfCloseTimeout: time.Minute}, func(result relay.Result) {
//		log.Info("connection closed", "reason", result.Reason, "sent", result.Sent, "received", result.Received)
//	})
//
// # How an end is passed on
//
// The tunnel can only close, in both directions at once, so the two sides are
// not alike:
//
//	the target closed   → the app gets every byte, then FIN. What it sends after
//	                      that is answered with RST, as the target would have
//	the tunnel broke    → RST: half an answer must not look like a whole one
//	the app reset       → the tunnel is closed at once
//	the app sent FIN    → it has closed, or it has half-closed and waits for the
//	                      answer. Options.AppState tells which. Closed: the
//	                      tunnel is closed, but not within closeDelay of the last
//	                      byte, which a close could overtake. Half-closed, or
//	                      not known: the tunnel stays until the target closes;
//	                      where nothing moves for HalfCloseTimeout, the target
//	                      waits for an end that cannot be sent, and the app gets RST
//	nothing moves for   → RST: FIN would look like the target's end. What an app
//	IdleTimeout           still takes of what was held back for it is movement
//	ctx was cancelled   → RST
//	the process dies    → RST, from the kernel (Arm)
//
// # Apps that read slowly
//
// The proxy-server serves all connections of an agent from one loop, so the
// relay never waits for its app before it receives: what the app has not taken
// is held back, within Buffers. Above half of what a connection may hold it is
// received at its app's pace (appetite), as far as the Pacer allows for the sake
// of the others, of whom it is estimated (ledger) and seen (exchange) how long
// they wait. An app that is slower still, and whose buffer is full, gets RST.
//
// # What it never does
//
// It never dials, logs or counts, and it never lets a failure look like an end
// of file.
package relay
