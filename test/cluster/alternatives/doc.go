// SPDX-License-Identifier: Apache-2.0

// Package alternatives has what `make bench-alternatives` measures: three ways by which a
// Prometheus in the seed scrapes the shoot. It measures nothing itself. It makes the table
// and the plot of docs/alternatives.md.
//
//	results := alternatives.New(rounds)
//	results.Costs[alternatives.Sidecar].Durations = …
//	err := results.Write("bench-results")
//
// The run that the document shows is testdata/run.json. After a new run:
//
//	cp bench-results/results.json test/cluster/alternatives/testdata/run.json
//	go test -C test/cluster ./alternatives -update
package alternatives
