// SPDX-License-Identifier: Apache-2.0

// Package bundle collects what a maintainer needs to understand an installation, as one
// archive (tar, gzip): versions, the report of an inspection, the webhook's objects and
// logs, the injected pods with their logs and status, events, and the names of what may
// stand in the way.
//
//	contents, err := bundle.Write(ctx, bundle.Config{File: "bundle.tar.gz", Cluster: restConfig, Report: report, Program: "webhook v1.2.3"})
//	…
//	fmt.Print(contents) // what is in it, and what to look at before it is sent
//
// It asks only for what it writes, and never for a Secret. Of objects it writes only the
// fields that it knows: everything that it adds to pods, and of the rest the names. So no
// value of an environment variable, no argument of a foreign container and no annotation of
// others is in it. At last, [scrub] removes from each text what looks like a key or a token.
package bundle
