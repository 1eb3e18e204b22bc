// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"io"
	"log"
	"net"

	"github.com/armon/go-socks5"
)

// serveSOCKS5 runs a SOCKS5 sidecar on a loopback address. For each connection it opens
// TLS and CONNECT to the frontend, and copies. It returns when listening fails.
func serveSOCKS5(listen, frontend string, files Files) error {
	cfg, err := files.config()
	if err != nil {
		return err
	}
	dial := connectDialer(frontend, cfg)
	server, err := socks5.New(&socks5.Config{
		Dial:   func(ctx context.Context, _, to string) (net.Conn, error) { return dial(ctx, to) },
		Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		return err
	}
	return server.ListenAndServe("tcp", listen)
}
