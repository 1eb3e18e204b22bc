// SPDX-License-Identifier: Apache-2.0

package markdown

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// Document is what one file tells its readers to do.
type Document struct {
	// Name is the file's name.
	Name  string
	lines []string
}

// Step is one thing to do: a command, or a file to write.
type Step struct {
	// Document and Line are the place of the step.
	Document string
	Line     int
	// Skipped is the reason why no test runs it; empty if one can.
	Skipped string

	// Command is for bash, with its further lines; empty for a file.
	Command string
	// Output is what the command prints, as the document shows it; empty if it does not.
	Output string

	// File is the name of a file to write, and Content its text.
	File, Content string
}

// String returns the place of the step, and what it does.
func (s Step) String() string {
	what := s.Command
	if s.File != "" {
		what = "write " + s.File
	}
	return fmt.Sprintf("%s:%d: %s", s.Document, s.Line, what)
}

// Read reads a document.
func Read(path string) (*Document, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a document: %w", err)
	}
	return Parse(path, string(text)), nil
}

// Parse does the same as Read for a text.
func Parse(name, text string) *Document {
	return &Document{Name: name, lines: strings.Split(text, "\n")}
}

// heading matches a line such as "## Install", outside of blocks.
var heading = regexp.MustCompile(`^(#{1,6}) (.*)$`)

// Section returns the steps below a heading, up to the next one of the same level or a
// higher one.
func (d *Document) Section(title string) ([]Step, error) {
	blocks, err := d.blocks()
	if err != nil {
		return nil, err
	}
	first, last, err := d.section(blocks, title)
	if err != nil {
		return nil, err
	}
	return d.steps(blocks, first, last)
}

// Texts returns the blocks of `text` below a heading, which show what a program prints.
func (d *Document) Texts(title string) ([]string, error) {
	blocks, err := d.blocks()
	if err != nil {
		return nil, err
	}
	first, last, err := d.section(blocks, title)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, b := range blocks {
		if b.language == "text" && b.first >= first && b.first < last {
			texts = append(texts, strings.Join(b.lines, "\n"))
		}
	}
	return texts, nil
}

// section returns the line at which a section begins, and the line before which it ends.
func (d *Document) section(blocks []block, title string) (first, last int, err error) {
	inside := inBlocks(blocks)
	first, last = -1, len(d.lines)
	level := 0
	for i, line := range d.lines {
		match := heading.FindStringSubmatch(line)
		switch {
		case match == nil || inside(i):
		case first < 0 && match[2] == title:
			first, level = i, len(match[1])
		case first >= 0 && len(match[1]) <= level:
			last = i
		}
		if last == i {
			break
		}
	}
	if first < 0 {
		return 0, 0, fmt.Errorf("%s has no heading %q", d.Name, title)
	}
	return first, last, nil
}

// Steps returns all steps.
func (d *Document) Steps() ([]Step, error) {
	blocks, err := d.blocks()
	if err != nil {
		return nil, err
	}
	return d.steps(blocks, 0, len(d.lines))
}

// steps returns the steps of the blocks between two lines.
func (d *Document) steps(blocks []block, first, last int) ([]Step, error) {
	var steps []Step
	for _, b := range blocks {
		if b.first < first || b.first >= last {
			continue
		}
		found, err := b.steps()
		if err != nil {
			return nil, fmt.Errorf("%s:%w", d.Name, err)
		}
		for _, s := range found {
			s.Document, s.Skipped = d.Name, b.skipped
			steps = append(steps, s)
		}
	}
	return steps, nil
}

// block is the text between two lines of backticks.
type block struct {
	language string
	skipped  string
	lines    []string
	first    int // index of the first line in the document
}

var (
	fence   = regexp.MustCompile("^( *)(```+)([A-Za-z]*)$")
	comment = regexp.MustCompile(`^ *<!-- not run: (.*) -->$`)
)

// blocks returns the document's blocks.
func (d *Document) blocks() ([]block, error) {
	var blocks []block
	for i := 0; i < len(d.lines); i++ {
		open := fence.FindStringSubmatch(d.lines[i])
		if open == nil {
			continue
		}
		b := block{language: open[3], first: i + 1}
		if i > 0 {
			if match := comment.FindStringSubmatch(d.lines[i-1]); match != nil {
				b.skipped = match[1]
			}
		}
		for i++; i < len(d.lines) && strings.TrimSpace(d.lines[i]) != open[2]; i++ {
			b.lines = append(b.lines, strings.TrimPrefix(d.lines[i], open[1])) // the indentation of a list
		}
		if i == len(d.lines) {
			return nil, fmt.Errorf("%s:%d: the block has no end", d.Name, b.first)
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// inBlocks returns a function that reports whether a line is in one of the blocks.
func inBlocks(blocks []block) func(int) bool {
	in := map[int]bool{}
	for _, b := range blocks {
		for i := range b.lines {
			in[b.first+i] = true
		}
	}
	return func(line int) bool { return in[line] }
}
