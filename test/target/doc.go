// SPDX-License-Identifier: Apache-2.0

// Package target holds the servers that stand in the shoot. Each behaves in one way that
// is hard for a tunnel. They are ordinary TCP and HTTP servers. No code in them knows of
// the tunnel.
//
//	targets, err := target.Listen(l.Shoot.Listen)
//	defer targets.Close()
//
// They listen on every address of the namespace in which Listen opens sockets:
//
//	8080  HTTP: /file?bytes=N, /upload, /until-released, /metrics, /
//	7000  echo: returns what it gets, and EOF for EOF
//	7001  half-close: answers a request and never looks for its EOF
//	7002  speaks first: sends its banner and closes at once, whatever arrives
//	7003  answers only after it has seen EOF
//	7004  silent: accepts, reads, never answers
//	7005  sink: as silent, and reports what it got to [Targets.Sunk]
//	7006  stuck: accepts, reads nothing until [Targets.Release], and then as the sink
//	7007  resets: sends its banner, and resets the connection at the first byte
//	7008  named: answers a line with the shoot's name, as [Targets.SetName] says
//	7010  FIN first: sends its banner and FIN at once, and then as the sink
//
// No server listens on [ClosedPort].
package target
