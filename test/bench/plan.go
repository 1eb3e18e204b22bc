// SPDX-License-Identifier: Apache-2.0

package bench

// task is one piece of work that contenders are compared in, and what to keep
// of its figures.
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
	SetupGrowth       = "growth of the set-up time"
	CPUGrowth         = "growth of the CPU time"
	MemoryGrowth      = "growth of the memory"
)

// tasks are those that are repeated round by round; idle connections come after
// them.
func tasks(quick bool) []task {
	size, rounds, few := int64(256<<20), 7, 5
	if quick {
		size, rounds, few = 64<<20, 3, 3
	}
	echo := func(do string, n, at int, bytes int64) Work {
		return Work{Do: do, Port: echoPort, N: n, At: at, Bytes: bytes}
	}
	return []task{
		{
			work: echo("setup", pick(quick, 50, 100), 1, 0), rounds: rounds,
			keep: map[string]string{"p50-ms": SetupMS, "p99-ms": SetupP99MS},
		},
		{
			work: echo("setup", pick(quick, 500, 1000), 64, 0), rounds: rounds,
			keep: map[string]string{"per-second": PerSecond}, perThousand: SetupCPU,
		},
		{work: echo("round-trips", pick(quick, 500, 1000), 1, 1), rounds: rounds, keep: map[string]string{"p50-ms": RoundTripMS}},
		{work: echo("round-trips", pick(quick, 300, 500), 1, 16<<10), rounds: rounds, keep: map[string]string{"p50-ms": RoundTrip16KMS}},
		{work: Work{Do: "download", Port: sourcePort, N: 1, Bytes: size}, rounds: few, keep: map[string]string{"MiB-per-second": Download}, perGiB: DownloadCPU},
		{work: Work{Do: "upload", Port: sinkPort, N: 1, Bytes: size}, rounds: few, keep: map[string]string{"MiB-per-second": Upload}, perGiB: UploadCPU},
		{work: Work{Do: "download", Port: sourcePort, N: 16, Bytes: size}, rounds: few, keep: map[string]string{"MiB-per-second": DownloadSpread}, perGiB: DownloadSpreadCPU},
		{work: Work{Do: "upload", Port: sinkPort, N: 16, Bytes: size}, rounds: few, keep: map[string]string{"MiB-per-second": UploadSpread}, perGiB: UploadSpreadCPU},
		{work: Work{Do: "scrape", Port: metricsPort, N: scraped, At: 16, Bytes: scrapeBytes}, rounds: few, keep: map[string]string{"seconds": Scrape}},
		{work: Work{Do: "scrape", Port: metricsPort, N: scraped, At: 16, Bytes: scrapeBytes, KeepAlive: true}, rounds: few, keep: map[string]string{"seconds": ScrapeKeepAlive}},
	}
}

func pick[T any](condition bool, yes, no T) T {
	if condition {
		return yes
	}
	return no
}
