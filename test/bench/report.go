// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// Print writes the tables: each figure of each contender, and each target.
func (r *Results) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	header := []string{"median (spread)"}
	for _, c := range Contenders() {
		header = append(header, string(c))
	}
	_, _ = fmt.Fprintln(t, strings.Join(header, "\t")+"\t")
	for _, figure := range slices.Sorted(maps.Keys(r.Figures)) {
		cells := []string{figure}
		for _, c := range Contenders() {
			cells = append(cells, cell(r.Figures[figure][c]))
		}
		_, _ = fmt.Fprintln(t, strings.Join(cells, "\t")+"\t")
	}
	_, _ = fmt.Fprintln(t)
	if err := t.Flush(); err != nil {
		return err
	}
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "TARGET\t\tGOT\tSPREAD\tMINIMAL\t")
	for _, v := range r.Targets {
		minimal := "-"
		if v.Minimal != 0 {
			minimal = number(v.Minimal)
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t±%.0f%%\t%s\t%s\n", v.Name, v.Target, number(v.Got), 100*v.Spread, minimal, pick(v.Met, "pass", "MISS"))
	}
	return t.Flush()
}

func cell(samples []float64) string {
	if len(samples) == 0 {
		return "-"
	}
	return fmt.Sprintf("%s ±%.0f%%", number(median(samples)), 100*spread(samples))
}

// number has three digits that count.
func number(x float64) string {
	digits := 2 - int(math.Floor(math.Log10(math.Abs(x))))
	if math.IsNaN(x) || math.IsInf(x, 0) || x == 0 {
		return fmt.Sprint(x)
	}
	return fmt.Sprintf("%.*f", max(0, digits), x)
}

// Write writes results.json and results.svg into a folder.
func (r *Results) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "results.svg"), r.plot(), 0o644)
}
