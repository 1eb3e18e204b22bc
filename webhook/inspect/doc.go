// SPDX-License-Identifier: Apache-2.0

// Package inspect looks at an installation as a whole: the webhook, the pods with the
// label, and what these need. It asks only the API server, with the caller's rights, and
// changes nothing.
//
//	report, err := inspect.Run(ctx, inspect.Config{Cluster: restConfig, Version: version})
//	…
//	err = report.WriteText(os.Stdout)
//	os.Exit(report.ExitCode())
//
// Each finding says what was looked at, what is wrong on which object, and what to do
// next. A finding never has the content of a Secret. What the caller may not read is
// reported as skipped, and never as well.
//
// It does not decide what a pod gets: package webhook does. It does not look into running
// pods: `proxy-client check` does that there.
package inspect
