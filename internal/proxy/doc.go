// SPDX-License-Identifier: Apache-2.0

// Package proxy accepts redirected connections, and connects each to its app's
// destination through the tunnel.
//
//	listeners, err := proxy.Listen(ctx, cfg.Listen, names)
//	…
//	p := proxy.New(proxy.Config{
//		Listeners: listeners, CIDRs: cfg.CIDRs, Dialer: dialer,
//		DialTimeout: 8 * time.Second, DrainTimeout: 20 * time.Second, Logger: logger, Metrics: proxy.NewMetrics(registry),
//	})
//	err = p.Run(ctx) // ends with ctx, after the drain
//
// # Steps of a connection
//
//   - accept it, and read its original destination
//   - answer it at once, if it is the probe
//   - refuse it, if it was not redirected (not_redirected), if it leads back to the sidecar or to a proxy-server (loop), if it leaves the shoot (outside_cidrs), or if too many are open (max_connections)
//   - wait for a place among the dials in flight (max_dials)
//   - dial its destination through the tunnel; the dial ends early if the app gives up
//   - relay until both directions are done
//
// Each connection makes exactly one log line and counts in the metrics. Connections
// beyond the maximum share a line.
//
// A connection that could not be made ends in RST. It never ends in a clean end of
// file, which would look like an empty answer.
//
// # Ending
//
// When Run's context ends, the listeners close, and open connections have DrainTimeout
// to finish. Connections that are left then, or when Abort is called, are reset. Run
// returns after the last goroutine that it started.
//
// # What it never does
//
// It never dials by itself, never interprets the bytes, and never stops accepting
// because an accept failed.
package proxy
