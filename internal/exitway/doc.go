// SPDX-License-Identifier: Apache-2.0

// Package exitway is the way to a target through an exit: a proxy in the shoot that is
// reached through proxy-server and agent like any target, and that speaks HTTP/2 CONNECT
// over TLS with client certificates.
//
//	way, err := exitway.New(exitway.Config{Exits: exits, Outer: dialer, DialTimeout: 8 * time.Second, …})
//	go way.Run(ctx)                          // keeps tunnels to the exits
//	conn, err := way.DialContext(ctx, dst, nil) // a tunnel.Carrier with all Traits
//
// # Tunnels
//
// A tunnel is one connection to an exit: a Conn of the outer dialer, TLS in it, HTTP/2 in
// that (open.go). Each dial is a stream on one of a few tunnels (way.go). A slot keeps one
// tunnel open, and makes the next one before the current one must go (slot.go). Streams of
// the old tunnel go on until they end.
//
// A tunnel is always read at once. What an app has not taken stays within its stream's
// window, so a slow app delays no other app, and neither server nor agent waits.
//
// PINGs show within 10 s that an agent or a server has died. Streams of a tunnel that ends
// by itself are broken (tunnel.ErrBroken), never ended cleanly.
//
// # First bytes
//
// What an app sends during its dial goes behind it, and saves a round trip. The exit passes
// it on when the target has accepted. A dial whose tunnel breaks after that is not repeated:
// the target may have got the bytes, and must not get them twice.
//
// # Fallback
//
// While no exit answers, dials wait until the attempt that is under way has failed. Then,
// if the exit is only preferred, they take the plain way: the outer dialer's own. The
// slots ask the exits again with a growing pause. No dial of an app does that. A tunnel
// that follows one which broke soon must last for a while until dials use it (standing.go).
// An exit's refusal of a destination is an answer, and is never gone around.
//
// A web server accepts tunnels too, and then answers each dial with a status such as 404. If it
// has never answered as a proxy, it does not count as an exit that answers (noexit.go). The
// slots go on to ask it.
//
// # What it never does
//
// It resolves no name, and knows neither konnectivity nor how the outer dialer picks a
// server.
package exitway
