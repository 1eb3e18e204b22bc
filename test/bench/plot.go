// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
)

// panels are the figures of the plot. If less is set, lower is better.
var panels = []struct {
	figure string
	less   bool
}{
	{SetupMS, true},
	{PerSecond, false},
	{RoundTripMS, true},
	{Scrape, true},
	{Download, false},
	{Upload, false},
	{DownloadCPU, true},
	{UploadCPU, true},
	{SetupCPU, true},
	{IdleMemory, true},
}

// Sizes of the plot, in pixels.
const (
	panelWidth  = 440
	panelHeight = 190
	columns     = 2
	labelWidth  = 140
	barHeight   = 14
	barStep     = 19
	margin      = 16
)

// plot draws a panel of bars for each figure: SVG 1.1 without scripts. It has a
// background of its own, so that it is readable on any page.
func (r *Results) plot() []byte {
	var b bytes.Buffer
	rows := (len(panels) + columns - 1) / columns
	width, height := columns*panelWidth+2*margin, rows*panelHeight+2*margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="11">`, width, height)
	fmt.Fprintf(&b, "\n<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", width, height)
	for i, p := range panels {
		fmt.Fprintf(&b, "<g transform=\"translate(%d %d)\">\n", margin+i%columns*panelWidth, margin+i/columns*panelHeight)
		title := p.figure + pick(p.less, ": less is better", ": more is better")
		fmt.Fprintf(&b, "<text x=\"0\" y=\"12\" font-weight=\"bold\" fill=\"#1f2328\">%s</text>\n", escape(title))
		r.bars(&b, p.figure)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// bars draws one bar for each contender, as long as its median. A line shows the range of
// its samples.
func (r *Results) bars(b *bytes.Buffer, figure string) {
	const room = panelWidth - labelWidth - 70
	var most float64
	for _, c := range Contenders() {
		if c != Direct { // beside the physical limit all others would look alike
			most = max(most, r.high(figure, c))
		}
	}
	y := 22
	for _, c := range Contenders() {
		m := r.Median(figure, c)
		if math.IsNaN(m) || most == 0 {
			continue
		}
		length := min(m/most, 1) * room
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"#1f2328\">%s</text>", labelWidth-6, y+barHeight-3, escape(string(c)))
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>", labelWidth, y, length, barHeight, color(c))
		if m <= most {
			fmt.Fprintf(b, "<path d=\"M%.1f %d H%.1f\" stroke=\"#1f2328\"/>", labelWidth+r.low(figure, c)/most*room, y+barHeight/2, labelWidth+r.high(figure, c)/most*room)
		}
		after := labelWidth + max(length, min(r.high(figure, c)/most, 1)*room) + 5
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" fill=\"#59636e\">%s%s</text>\n", after, y+barHeight-3, number(m), pick(m > most, " →", ""))
		y += barStep
	}
}

func color(c Contender) string {
	switch c {
	case OursGRPC, OursConnect:
		return "#1a7f5a"
	case Direct:
		return "#c8d1da"
	default:
		return "#7f8fa3"
	}
}

func (r *Results) high(figure string, c Contender) float64 {
	var high float64
	for _, s := range r.Figures[figure][c] {
		high = max(high, s)
	}
	return high
}

func (r *Results) low(figure string, c Contender) float64 {
	low := math.Inf(1)
	for _, s := range r.Figures[figure][c] {
		low = min(low, s)
	}
	return low
}

func escape(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a write to a bytes.Buffer does not fail
	return b.String()
}
