// SPDX-License-Identifier: Apache-2.0

package bench

import "time"

// task is one piece of work in which contenders are compared, with the figures to keep.
type task struct {
	work   Work
	rounds int
	keep   map[string]string
	// perGiB and perThousand name the figures of the sidecar's CPU time, in
	// seconds for each GiB moved and for each 1,000 connections made.
	perGiB, perThousand string
}

// The figures, as results.json spells them.
const (
	SetupMS           = "set-up, one at a time (ms)"
	SetupP99MS        = "set-up, one at a time, p99 (ms)"
	PerSecond         = "set-up, 64 at a time (connections/s)"
	SetupCPU          = "CPU of the sidecar (s per 1,000 connections)"
	RoundTripMS       = "round trip of 1 byte (ms)"
	RoundTrip16KMS    = "round trip of 16 KiB (ms)"
	Download          = "download (MiB/s)"
	Upload            = "upload (MiB/s)"
	DownloadSpread    = "download on 16 connections (MiB/s)"
	UploadSpread      = "upload on 16 connections (MiB/s)"
	DownloadCPU       = "CPU of the sidecar, download (s per GiB)"
	UploadCPU         = "CPU of the sidecar, upload (s per GiB)"
	DownloadSpreadCPU = "CPU of the sidecar, download on 16 connections (s per GiB)"
	UploadSpreadCPU   = "CPU of the sidecar, upload on 16 connections (s per GiB)"
	Scrape            = "scrape of 500 targets (s)"
	ScrapeKeepAlive   = "scrape of 500 targets, keep-alive (s)"
	AtRest            = "memory at rest (MiB)"
	IdleMemory        = "memory for each idle connection (KiB)"
	ExitMemory        = "memory of the exit for each idle connection (KiB)"
	HoldWorstMS       = "set-up of many, 16 at a time, worst (ms)"
	SetupGrowth       = "growth of the set-up time"
	CPUGrowth         = "growth of the CPU time"
	MemoryGrowth      = "growth of the memory"
)

// figures returns all of them, in the order of the reports.
func figures() []string {
	return []string{
		SetupMS, SetupP99MS, PerSecond, SetupCPU, RoundTripMS, RoundTrip16KMS,
		Download, DownloadSpread, Upload, UploadSpread, DownloadCPU, DownloadSpreadCPU, UploadCPU, UploadSpreadCPU,
		Scrape, ScrapeKeepAlive, AtRest, IdleMemory, ExitMemory, HoldWorstMS, SetupGrowth, CPUGrowth, MemoryGrowth,
	}
}

// Scale is how much is measured.
type Scale int

// The scales: about ten minutes, about three, and just enough to see that it works.
const (
	Full Scale = iota
	Quick
	Smoke
)

func (s Scale) String() string { return [...]string{"full", "quick", "smoke"}[s] }

// sizes are the numbers of a scale.
type sizes struct {
	setups, crowd        int   // connections, one and 64 at a time
	trips, long          int   // round trips of 1 byte and of 16 KiB
	bulk                 int64 // number of bytes
	scraped              int   // targets
	rounds, few, holding int   // rounds of the short works, rounds of the long ones, idle connections
	idle                 [3]int
	settle               time.Duration // how long connections have been idle when their memory is read
}

func (s Scale) sizes() sizes {
	switch s {
	case Smoke:
		return sizes{3, 64, 20, 20, 1 << 20, 20, 1, 1, 1, [3]int{20, 40, 80}, 100 * time.Millisecond}
	case Quick:
		return sizes{50, 500, 500, 300, 64 << 20, scraped, 3, 3, 1, [3]int{500, 1500, 3000}, 3 * time.Second}
	default:
		return sizes{100, 1000, 1000, 500, 256 << 20, scraped, 7, 5, 3, [3]int{1000, 5000, 10000}, 3 * time.Second}
	}
}

// Works that Config.Only can name:
const (
	workSetup      = "setup"
	workRoundTrips = "round-trips"
	workDownload   = "download"
	workUpload     = "upload"
	workScrape     = "scrape"
	workHold       = "hold"

	workLetGo = "let-go" // ends workHold, and is not one of them
)

// Works returns all that Config.Only may name.
func Works() []string {
	return []string{workSetup, workRoundTrips, workDownload, workUpload, workScrape, workHold}
}

// tasks returns those that are repeated round by round. Idle connections come after them.
func (s Scale) tasks() []task {
	n := s.sizes()
	bulk := func(do string, port, connections int, speed, cpu string) task {
		return task{
			work:   Work{Do: do, Port: port, N: connections, Bytes: n.bulk},
			rounds: n.few, keep: map[string]string{"MiB-per-second": speed}, perGiB: cpu,
		}
	}
	trips := func(times int, bytes int64, name string) task {
		return task{
			work:   Work{Do: workRoundTrips, Port: echoPort, N: times, Bytes: bytes},
			rounds: n.rounds, keep: map[string]string{"p50-ms": name},
		}
	}
	scrapes := func(keepAlive bool, name string) task {
		return task{
			work:   Work{Do: workScrape, Port: metricsPort, N: n.scraped, At: 16, Bytes: scrapeBytes, KeepAlive: keepAlive},
			rounds: n.few, keep: map[string]string{"seconds": name},
		}
	}
	return []task{
		{
			work:   Work{Do: workSetup, Port: echoPort, N: n.setups, At: 1},
			rounds: n.rounds, keep: map[string]string{"p50-ms": SetupMS, "p99-ms": SetupP99MS},
		},
		{
			work:   Work{Do: workSetup, Port: echoPort, N: n.crowd, At: 64},
			rounds: n.rounds, keep: map[string]string{"per-second": PerSecond}, perThousand: SetupCPU,
		},
		trips(n.trips, 1, RoundTripMS),
		trips(n.long, 16<<10, RoundTrip16KMS),
		bulk(workDownload, sourcePort, 1, Download, DownloadCPU),
		bulk(workUpload, sinkPort, 1, Upload, UploadCPU),
		bulk(workDownload, sourcePort, 16, DownloadSpread, DownloadSpreadCPU),
		bulk(workUpload, sinkPort, 16, UploadSpread, UploadSpreadCPU),
		scrapes(false, Scrape),
		scrapes(true, ScrapeKeepAlive),
	}
}
