// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

func TestMain(m *testing.M) {
	if ran, err := Play(os.Args[1:], os.Stdin, os.Stdout); ran {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if left := lab.Leftovers(); len(left) != 0 {
		fmt.Fprintf(os.Stderr, "FAIL: the tests left on the machine: %q\n", left)
		code = max(code, 1)
	}
	os.Exit(code)
}

// TestBenchSmoke runs what `make bench` runs, with the smallest numbers, so that it keeps
// working. It requires only that the figures are there.
func TestBenchSmoke(t *testing.T) {
	labtest.RequireRoot(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // a guard against hanging
	defer cancel()
	results, err := Run(ctx, Config{Scale: Smoke, Out: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	for _, figure := range []string{SetupMS, PerSecond, RoundTripMS, Download, Upload, Scrape} {
		if diff := cmp.Diff(len(Contenders()), len(slices.Collect(maps.Keys(results.Figures[figure])))); diff != "" {
			t.Errorf("not every contender has a figure %q: %s", figure, diff)
		}
	}
	results.Judge()
	if err := errors.Join(results.Print(t.Output()), results.Write(t.TempDir())); err != nil {
		t.Error(err)
	}
}

// made returns results as a run would return them.
func made() *Results {
	r := newResults(Full)
	for _, c := range Contenders() {
		for i := range 3 {
			r.add(SetupMS, c, 10+float64(i))
			r.add(Download, c, 100)
		}
	}
	r.Figures[SetupMS][OursGRPC] = []float64{2.5, 5.5, 1.2}
	r.Figures[Download][ReusableGRPC] = []float64{200, 200, 200}
	return r
}

func TestATargetIsTheMedianOfTheRoundsRatios(t *testing.T) {
	r := made()
	r.Judge()
	got := map[string]Verdict{}
	for _, v := range r.Targets {
		got[v.Name] = v
	}
	setup, ok := got["set-up, one at a time: ours (grpc) / stock gRPC"]
	if !ok || setup.Got != 0.25 || !setup.Met || setup.Target != "≤ 0.4" || setup.Minimal != 1 {
		t.Errorf("the ratios are 0.25, 0.5 and 0.1, but the verdict is %+v", setup)
	}
	// The better one of the clients in process counts.
	download, ok := got["download: ours (grpc) / reusable gRPC"]
	if !ok || download.Got != 0.5 || download.Met || download.Target != "≥ 0.95" {
		t.Errorf("ours is half as fast as the best, but the verdict is %+v", download)
	}
	for figure := range r.Figures {
		if !slices.Contains(figures(), figure) {
			t.Errorf("no report shows %q", figure)
		}
	}
	if len(got) != 7 {
		t.Errorf("what was not measured is judged: %v", slices.Collect(maps.Keys(got)))
	}
}

func TestMedianAndSpread(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		median  float64
		spread  float64
	}{
		{[]float64{3}, 3, 0},
		{[]float64{4, 2}, 3, 1.0 / 3},
		{[]float64{9, 1, 2}, 2, 3.5},
	} {
		if m, s := median(c.samples), spread(c.samples); m != c.median || s != c.spread {
			t.Errorf("median and spread of %v are %v and %v, want %v and %v", c.samples, m, s, c.median, c.spread)
		}
	}
}

func TestGrowthIsHowMuchTheSlopesDiffer(t *testing.T) {
	r := newResults(Full)
	r.grow(OursGRPC, [3]step{
		{connections: 1000, seconds: 1, cpu: 0.5, memory: 10 << 20},
		{connections: 5000, seconds: 5, cpu: 2.5, memory: 50 << 20},  // 1 ms, 0.5 ms and 10.24 KiB each
		{connections: 10000, seconds: 15, cpu: 5, memory: 100 << 20}, // 2 ms, the same, and the same
	})
	got := map[string]float64{}
	for _, figure := range []string{SetupGrowth, CPUGrowth, MemoryGrowth, IdleMemory} {
		got[figure] = r.Median(figure, OursGRPC)
	}
	want := map[string]float64{SetupGrowth: 2, CPUGrowth: 1, MemoryGrowth: 1, IdleMemory: 10.24}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsWrittenCanBeRead(t *testing.T) {
	r, dir := made(), t.TempDir()
	r.Judge()
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var read Results
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Figures, read.Figures); diff != "" {
		t.Error(diff)
	}
	picture, err := os.ReadFile(filepath.Join(dir, "results.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(strings.NewReader(string(picture))); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
	}
}
