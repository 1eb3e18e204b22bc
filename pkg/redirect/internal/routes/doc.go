// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package routes gives a pod the address and the routes without which a connection to the
// shoot fails before the rules see it, and takes them away.
//
// It owns one address in each family and all routes of protocol 141. It never touches
// another address or route.
//
// A pod without the shoot's family cannot connect(2). The kernel looks for a route and a
// source address before there is a packet that NAT could redirect. So such a pod gets an
// address of ours, and routes over a device that is not lo. No packet ever takes them:
// redirected packets go to lo, and the guard rejects the others.
//
// An app can also bind its socket to a device (SO_BINDTODEVICE; `curl --interface eth1`).
// REDIRECT sends its connection to loopback like any other. Then the kernel looks for a
// route to loopback over that device (ip_route_me_harder). Without one, the packet leaves
// by the device, addressed to 127.0.0.1. So each device gets a local route to the loopback
// address, and the connection arrives at the sidecar like every other. A device that is
// added later has no such route until the next apply: the guard in table mangle drops what
// would leave by it. With such a route too, the kernel refuses packets that come from
// outside for a loopback address (ip_route_input_slow, ip6_rcv_core).
package routes
