// SPDX-License-Identifier: Apache-2.0

package bench

import "fmt"

// target is the required value of one of our figures, or of its ratio to another
// contender's.
type target struct {
	name   string
	figure string
	ours   Contender
	to     []Contender // the best of them counts; if there are none, the figure itself
	most   float64
	least  float64 // used instead of most if that is zero
	// minimal, if set, is a client in process that does only what its mode requires. If
	// it misses the target too, the miss is explained.
	minimal Contender
}

// Verdict is a target and what was measured for it.
type Verdict struct {
	Name    string
	Target  string
	Got     float64
	Spread  float64   `json:",omitempty"` // the largest distance of a round from it, as a part of it
	Against Contender `json:",omitempty"`
	// Minimal is what a minimal client in process, of the same mode, got.
	Minimal float64 `json:",omitempty"`
	Met     bool
}

func targets() []target {
	grpc, connect := []Contender{StockGRPC, ReusableGRPC}, []Contender{InProcess}
	socks := []Contender{SOCKS5Sidecar}
	plainGRPC, plainConnect := []Contender{OursGRPC}, []Contender{OursConnect}
	return []target{
		{name: "set-up, one at a time", figure: SetupMS, ours: OursGRPC, to: []Contender{StockGRPC}, most: 0.40, minimal: ReusableGRPC},
		{name: "set-up, one at a time", figure: SetupMS, ours: OursConnect, to: socks, most: 0.60, minimal: InProcess},
		{name: "connections per second, 64 at a time", figure: PerSecond, ours: OursGRPC, to: socks, least: 2.8, minimal: ReusableGRPC},
		{name: "round trip of 1 byte", figure: RoundTripMS, ours: OursGRPC, to: grpc, most: 1.15},
		{name: "round trip of 1 byte", figure: RoundTripMS, ours: OursConnect, to: connect, most: 1.15},
		{name: "round trip of 16 KiB", figure: RoundTrip16KMS, ours: OursGRPC, to: grpc, most: 1.15},
		{name: "round trip of 16 KiB", figure: RoundTrip16KMS, ours: OursConnect, to: connect, most: 1.15},
		{name: "download", figure: Download, ours: OursGRPC, to: grpc, least: 0.95},
		{name: "download", figure: Download, ours: OursConnect, to: connect, least: 0.95},
		{name: "upload", figure: Upload, ours: OursGRPC, to: grpc, least: 0.95},
		{name: "upload", figure: Upload, ours: OursConnect, to: connect, least: 0.95},
		{name: "download on 16 connections", figure: DownloadSpread, ours: OursGRPC, to: grpc, least: 0.95},
		{name: "download on 16 connections", figure: DownloadSpread, ours: OursConnect, to: connect, least: 0.95},
		{name: "upload on 16 connections", figure: UploadSpread, ours: OursGRPC, to: grpc, least: 0.95},
		{name: "upload on 16 connections", figure: UploadSpread, ours: OursConnect, to: connect, least: 0.95},
		{name: "CPU for each GiB, download", figure: DownloadCPU, ours: OursConnect, to: socks, most: 0.60},
		{name: "CPU for each GiB, upload", figure: UploadCPU, ours: OursConnect, to: socks, most: 0.60},
		{name: "CPU for each GiB, download", figure: DownloadCPU, ours: OursGRPC, to: socks, most: 1.0},
		{name: "CPU for each GiB, upload", figure: UploadCPU, ours: OursGRPC, to: socks, most: 1.6},
		{name: "memory for each idle connection, KiB", figure: IdleMemory, ours: OursGRPC, most: 16},
		{name: "memory at rest, MiB", figure: AtRest, ours: OursGRPC, most: 20},
		{name: "memory at rest, MiB", figure: AtRest, ours: OursConnect, most: 20},
		{name: "scrape of 500 targets without keep-alive", figure: Scrape, ours: OursGRPC, to: socks, most: 0.60, minimal: ReusableGRPC},
		{name: "set-up, one at a time", figure: SetupMS, ours: ExitConnect, to: plainConnect, most: 0.7},
		{name: "connections per second, 64 at a time", figure: PerSecond, ours: ExitConnect, to: socks, least: 5},
		{name: "download", figure: Download, ours: ExitGRPC, to: plainGRPC, least: 0.85},
		{name: "download", figure: Download, ours: ExitConnect, to: plainConnect, least: 0.85},
		{name: "upload", figure: Upload, ours: ExitGRPC, to: plainGRPC, least: 0.75},
		{name: "upload", figure: Upload, ours: ExitConnect, to: plainConnect, least: 0.75},
		{name: "CPU for each GiB, download", figure: DownloadCPU, ours: ExitGRPC, to: plainGRPC, most: 1.7},
		{name: "CPU for each GiB, download", figure: DownloadCPU, ours: ExitConnect, to: plainConnect, most: 1.7},
		{name: "CPU for each GiB, upload", figure: UploadCPU, ours: ExitGRPC, to: plainGRPC, most: 1.7},
		{name: "CPU for each GiB, upload", figure: UploadCPU, ours: ExitConnect, to: plainConnect, most: 1.7},
		{name: "memory for each idle connection, KiB", figure: IdleMemory, ours: ExitGRPC, most: 12},
		{name: "memory for each idle connection, KiB", figure: IdleMemory, ours: ExitConnect, most: 12},
		{name: "memory of the exit for each idle connection, KiB", figure: ExitMemory, ours: ExitGRPC, most: 20},
		{name: "memory of the exit for each idle connection, KiB", figure: ExitMemory, ours: ExitConnect, most: 20},
		{name: "scrape of 500 targets without keep-alive", figure: Scrape, ours: ExitConnect, to: socks, most: 0.40},
		{name: SetupGrowth, figure: SetupGrowth, ours: OursGRPC, most: 1.5, minimal: ReusableGRPC},
		{name: SetupGrowth, figure: SetupGrowth, ours: OursConnect, most: 1.5, minimal: InProcess},
		{name: CPUGrowth, figure: CPUGrowth, ours: OursGRPC, most: 1.5},
		{name: CPUGrowth, figure: CPUGrowth, ours: OursConnect, most: 1.5},
		{name: MemoryGrowth, figure: MemoryGrowth, ours: OursGRPC, most: 1.5},
		{name: MemoryGrowth, figure: MemoryGrowth, ours: OursConnect, most: 1.5},
	}
}

// Judge compares what was measured with the targets.
func (r *Results) Judge() {
	r.Targets = nil
	for _, t := range targets() {
		if len(r.Figures[t.figure][t.ours]) == 0 {
			continue // not measured in this run
		}
		r.Targets = append(r.Targets, t.judge(r))
	}
}

func (t target) judge(r *Results) Verdict {
	v := Verdict{Name: t.name + ": " + string(t.ours)}
	samples := r.Figures[t.figure][t.ours]
	if len(t.to) > 0 {
		v.Against = t.best(r)
		samples = r.ratios(t.figure, t.ours, v.Against)
		v.Name += " / " + string(v.Against)
		if t.minimal != "" {
			v.Minimal = median(r.ratios(t.figure, t.minimal, v.Against))
		}
	} else if t.minimal != "" {
		v.Minimal = r.Median(t.figure, t.minimal)
	}
	v.Got, v.Spread = median(samples), spread(samples)
	v.Target, v.Met = t.says(), t.meets(v.Got)
	return v
}

func (t target) meets(got float64) bool {
	if t.most != 0 {
		return got <= t.most
	}
	return got >= t.least
}

func (t target) says() string {
	if t.most != 0 {
		return fmt.Sprintf("≤ %.4g", t.most)
	}
	return fmt.Sprintf("≥ %.4g", t.least)
}

// best returns the rival with the best figure.
func (t target) best(r *Results) Contender {
	best := t.to[0]
	for _, c := range t.to[1:] {
		a, b := r.Median(t.figure, c), r.Median(t.figure, best)
		if t.most != 0 && a < b || t.most == 0 && a > b {
			best = c
		}
	}
	return best
}
