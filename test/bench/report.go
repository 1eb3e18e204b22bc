// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
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
	for _, figure := range figures() {
		if len(r.Figures[figure]) == 0 {
			continue
		}
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
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t±%.0f%%\t%s\t%s\n", v.Name, v.Target, number(v.Got), 100*v.Spread, v.minimal(), v.says())
	}
	return t.Flush()
}

func cell(samples []float64) string {
	if len(samples) == 0 {
		return "-"
	}
	return fmt.Sprintf("%s ±%.0f%%", number(median(samples)), 100*spread(samples))
}

// number formats x with three significant digits.
func number(x float64) string {
	digits := 2 - int(math.Floor(math.Log10(math.Abs(x))))
	if math.IsNaN(x) || math.IsInf(x, 0) || x == 0 {
		return fmt.Sprint(x)
	}
	return fmt.Sprintf("%.*f", max(0, digits), x)
}

// Markdown returns the same tables for a document.
func (r *Results) Markdown() []byte {
	var b bytes.Buffer
	row := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	header, line := []string{"median ± spread"}, []string{"---"}
	for _, c := range Contenders() {
		header, line = append(header, string(c)), append(line, "---")
	}
	row(header...)
	row(line...)
	for _, figure := range figures() {
		if len(r.Figures[figure]) == 0 {
			continue
		}
		cells := []string{figure}
		for _, c := range Contenders() {
			cells = append(cells, cell(r.Figures[figure][c]))
		}
		row(cells...)
	}
	fmt.Fprintln(&b)
	row("target", "", "got", "minimal client", "")
	row("---", "---", "---", "---", "---")
	for _, v := range r.Targets {
		row(v.Name, v.Target, fmt.Sprintf("%s ± %.0f %%", number(v.Got), 100*v.Spread), v.minimal(), v.says())
	}
	return b.Bytes()
}

// minimal returns what a minimal client of the same mode got, if one was asked.
func (v Verdict) minimal() string {
	if v.Minimal == 0 {
		return "-"
	}
	return number(v.Minimal)
}

func (v Verdict) says() string { return pick(v.Met, "pass", "MISS") }

// Write writes results.json, results.md and results.svg into a folder.
func (r *Results) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"results.json": append(text, '\n'), "results.md": r.Markdown(), "results.svg": r.plot()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
