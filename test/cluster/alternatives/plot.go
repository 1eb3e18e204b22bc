// SPDX-License-Identifier: Apache-2.0

package alternatives

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
)

// Sizes of the plot, in pixels.
const (
	width      = 900
	margin     = 16
	lineHeight = 250 // of the panel with lines
	lineLeft   = 40
	lineTop    = 44
	barTop     = lineTop + lineHeight + 64
	barPanel   = 434 // width of a panel with bars
	barLabel   = 150
	barHeight  = 16
	barStep    = 24
	height     = barTop + 130
)

// before is how many seconds before the kill the lines begin, and step the distance of
// their points.
const (
	before = 10.0
	step   = 0.25
)

// Plot draws the ages of samples during the outage as lines, and what a scrape costs as
// bars: SVG 1.1 without scripts. It has a background of its own, so that it is readable on
// any page.
func (r *Results) Plot() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="11" fill="#1f2328">`, width, height)
	fmt.Fprintf(&b, "\n<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", width, height)
	r.ages(&b)
	heading(&b, margin, barTop-14, "time of a scrape (ms): p50, and a line up to p99")
	r.durations(&b)
	heading(&b, margin+barPanel, barTop-14, "CPU time for each scrape (ms)")
	r.cpu(&b)
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// ages draws the age of the newest sample over time.
func (r *Results) ages(b *bytes.Buffer) {
	o := &r.Outage
	top := 10.0
	for _, w := range Ways() {
		top = max(top, math.Ceil(max(o.worst(w, false), o.worst(w, true))/10)*10)
	}
	const room = width - 2*margin - lineLeft
	x := func(t float64) float64 { return margin + lineLeft + (t+before)/(o.End+before)*room }
	y := func(age float64) float64 { return lineTop + lineHeight - min(age, top)/top*lineHeight }

	heading(b, margin, 18, "age of the newest sample (s), while kube-apiserver is dead and after")
	fmt.Fprintf(b, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"#f4e3e1\"/>", x(0), lineTop, x(o.Ready)-x(0), lineHeight)
	fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" fill=\"#8a3a30\">kube-apiserver is dead, %.0f s</text>\n", x(0)+6, lineTop+14, o.Ready)
	for age := 0.0; age <= top; age += 10 {
		fmt.Fprintf(b, "<path d=\"M%.1f %.1f H%d\" stroke=\"#d8dee4\"/><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" fill=\"#59636e\">%.0f</text>\n", x(-before), y(age), width-margin, x(-before)-5, y(age)+4, age)
	}
	for t := 0.0; t <= o.End; t += 10 {
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" fill=\"#59636e\">%.0f s</text>\n", x(t), lineTop+lineHeight+16, t)
	}
	for i, l := range lines() {
		fmt.Fprintf(b, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-linejoin=\"round\"%s d=\"", l.way.color(), l.style)
		for t, letter := -before, "M"; t <= o.End; t, letter = t+step, "L" {
			fmt.Fprintf(b, "%s%.1f %.1f", letter, x(t), y(o.age(l.way, l.kubelet, t)))
		}
		b.WriteString("\"/>\n")
		at := margin + lineLeft + i*165
		fmt.Fprintf(b, "<path d=\"M%d 30 h22\" stroke=\"%s\" stroke-width=\"2\"%s/><text x=\"%d\" y=\"34\">%s</text>\n", at, l.way.color(), l.style, at+27, escape(l.title))
	}
}

// line is a line of the plot.
type line struct {
	way     Way
	kubelet bool
	title   string
	style   string // further attributes
}

// lines returns the lines of the plot. They often lie on each other, so two are dashed.
func lines() []line {
	return []line{
		{Sidecar, true, "sidecar, the kubelet", ` stroke-dasharray="2 3"`},
		{Sidecar, false, Sidecar.title(), ""},
		{Proxy, false, Proxy.title(), ""},
		{PortForward, false, PortForward.title(), ` stroke-dasharray="7 7"`},
	}
}

// durations draws a bar for each way up to its median, and a line up to its p99.
func (r *Results) durations(b *bytes.Buffer) {
	const room = barPanel - barLabel - 90
	var most float64
	for _, w := range Ways() {
		most = max(most, percentile(r.Costs[w].Durations, 99))
	}
	for i, w := range Ways() {
		y := barTop + i*barStep
		p50, p99 := percentile(r.Costs[w].Durations, 50), percentile(r.Costs[w].Durations, 99)
		label(b, margin, y, w)
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>", margin+barLabel, y, p50/most*room, barHeight, w.color())
		fmt.Fprintf(b, "<path d=\"M%.1f %d H%.1f\" stroke=\"#1f2328\"/>", margin+barLabel+p50/most*room, y+barHeight/2, margin+barLabel+p99/most*room)
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" fill=\"#59636e\">%s, %s</text>\n", margin+barLabel+p99/most*room+5, y+barHeight-4, number(p50), number(p99))
	}
}

// cpu draws a bar for each way, with a part for each component.
func (r *Results) cpu(b *bytes.Buffer) {
	const left, room = margin + barPanel + barLabel, barPanel - barLabel - 50
	var most float64
	for _, w := range Ways() {
		most = max(most, r.Costs[w].total())
	}
	for i, w := range Ways() {
		y, x := barTop+i*barStep, float64(left)
		label(b, margin+barPanel, y, w)
		for _, c := range Components() {
			samples := r.Costs[w].CPU[c]
			if len(samples) == 0 {
				continue
			}
			length := max(0, percentile(samples, 50)) / most * room
			fmt.Fprintf(b, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>", x, y, length, barHeight, c.color())
			x += length
		}
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" fill=\"#59636e\">%s</text>\n", x+5, y+barHeight-4, number(r.Costs[w].total()))
	}
	y := barTop + len(Ways())*barStep + 10
	for i, c := range Components() {
		x := margin + barPanel + 20 + i*130
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"10\" height=\"10\" fill=\"%s\"/><text x=\"%d\" y=\"%d\">%s</text>\n", x, y, c.color(), x+15, y+9, escape(string(c)))
	}
}

func heading(b *bytes.Buffer, x, y int, text string) {
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" font-weight=\"bold\">%s</text>\n", x, y, escape(text))
}

// label writes the name of a way in front of its bar.
func label(b *bytes.Buffer, x, y int, w Way) {
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>", x+barLabel-6, y+barHeight-4, escape(w.title()))
}

func (w Way) color() string {
	switch w {
	case Sidecar:
		return "#1a7f5a"
	case Proxy:
		return "#b35900"
	default:
		return "#5b6fb5"
	}
}

func (c Component) color() string {
	switch c {
	case APIServer:
		return "#8a3a30"
	case ProxyServers:
		return "#c8a15a"
	default:
		return "#7f8fa3"
	}
}

func escape(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a write to a bytes.Buffer does not fail
	return b.String()
}
