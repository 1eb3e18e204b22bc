// SPDX-License-Identifier: Apache-2.0

// Package statusserver serves the admin address of the sidecar: the status page, the
// JSON documents of package status, Go's profiles, and the drain.
//
//	srv, err := statusserver.Listen("127.0.0.1:14000", statusserver.Config{
//		Documents: statusserver.Documents{State: …, Connections: …},
//		Drain:     func(from string) { … },
//		Logger:    logger,
//	})
//	…
//	err = srv.Run(ctx)
//
// # Who may ask
//
// The address is on loopback: the containers of the pod, and people through
// `kubectl port-forward`. A browser there also runs pages of other origins. So:
//
//   - The Host of a request must be a loopback address or localhost. A name that an
//     attacker resolves to loopback (DNS rebinding) is refused.
//   - A request that a page of another origin makes is refused, unless it opens the page
//     itself. Browsers say so in Sec-Fetch-Site and Origin.
//   - No answer has a CORS header, and each has a strict Content-Security-Policy.
//   - A drain needs a POST with a token that is new in each process, and only in the page.
//
// It uses a limited part of the process: few connections, each with limited time.
// It does not know what the documents mean.
package statusserver
