// SPDX-License-Identifier: Apache-2.0

// Package proxy takes redirected connections and sends each to where its app
// wanted it to go.
//
//	listeners, err := proxy.Listen(ctx, cfg.Listen)
//	…
//	p := proxy.New(proxy.Config{
//		Listeners: listeners, CIDRs: cfg.CIDRs, Dialer: dialer,
//		DialTimeout: 8 * time.Second, DrainTimeout: 20 * time.Second, Logger: logger, Metrics: proxy.NewMetrics(registry),
//	})
//	err = p.Run(ctx) // ends with ctx, after the drain
//
// # The way of one connection
//
// Accepted; its original destination read; answered at once where it is the
// probe; refused where it is not a redirected one (not_redirected), leads back
// to the sidecar or to a proxy-server (loop), or leaves the shoot
// (outside_cidrs), or is one too many (max_connections); dialled through the
// tunnel, once the dials in flight leave a place for its destination
// (max_dials), which ends early where the app gives up; relayed until both
// directions are done. It leaves exactly one log line, unless it is one too many,
// and counts in the metrics.
//
// A connection that could not be made ends in RST, never in a clean end of file
// that looks like an empty answer.
//
// # Ending
//
// When Run's context ends, the listeners close and open connections may finish
// for DrainTimeout; what is left then, or when Abort is called, is reset. Run
// returns after the last goroutine that it started.
//
// # What it never does
//
// It never dials by itself, never looks into the bytes, and never stops
// accepting because an accept failed.
package proxy
