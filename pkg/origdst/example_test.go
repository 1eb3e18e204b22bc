// SPDX-License-Identifier: Apache-2.0

//go:build linux

package origdst_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"

	"github.com/shoot-proxy/proxy-client/pkg/origdst"
)

// A proxy asks for the destination of each connection that it accepts. Here the client
// connects to the proxy itself, which a proxy has to refuse: it would connect to itself.
func ExampleLookup() {
	// The kernel tells the destination of plain TCP only.
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	conn, err := listener.Accept()
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	destination, err := origdst.Lookup(conn.(*net.TCPConn))
	switch {
	case errors.Is(err, origdst.ErrNotRedirected):
		fmt.Println("the client connected to the proxy itself")
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Println("the client asked for", destination)
	}

	// Output:
	// the client connected to the proxy itself
}
