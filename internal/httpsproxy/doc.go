// SPDX-License-Identifier: Apache-2.0

// Package httpsproxy dials by HTTP/1.1 CONNECT through a standard proxy behind TLS, which is
// no proxy-server of konnectivity: Envoy, squid, Apache and others.
//
// A standard proxy has one TCP connection to the target for each connection to it. So TCP's
// own flow control reaches from the app to the target, and one connection cannot stop
// another. Its connections are tunnel.Carriers with Traits.Backpressure: nothing is held
// for an app that reads slowly, and such an app is not reset.
//
// The package owns the request and the judgement of its answer (refused.go), what is known
// of single proxies (custom.go), and the end of a connection (connection.go). A Dialer has
// one endpoint, and connects through its Owner.
//
// # How a connection ends
//
// A target's end arrives as TLS close_notify. A FIN without it is a broken connection,
// because the kernel of a proxy that was killed sends one too. Apache is the exception: it
// never sends close_notify for a tunnel. Its FIN is an end if Apache still answers then.
//
// Close ends our direction by close_notify, behind all that was sent. Abort resets the
// connection, so that the proxy does not take a part of an upload for all of it.
//
// It does not know which endpoint a dial should use, nor what a failure says about the
// endpoint.
package httpsproxy
