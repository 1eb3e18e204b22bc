// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// text is a document's text, in which nodes are located. It keeps its first problem.
// After a problem its results are meaningless.
type text struct {
	bytes   []byte
	lines   []int // offset of each line
	problem error
}

func newText(bytes []byte) text {
	t := text{bytes: bytes, lines: []int{0}}
	for i := 0; i < len(bytes); {
		width := t.lineBreak(i)
		if width > 0 {
			t.lines = append(t.lines, i+width)
		}
		i += max(width, 1)
	}
	return t
}

// lineBreak returns the length of the line break at an offset. YAML 1.1 has five kinds,
// and \r\n.
func (t *text) lineBreak(at int) int {
	rest := t.bytes[at:]
	for _, text := range []string{"\r\n", "\n", "\r", "\u0085", "\u2028", "\u2029"} {
		if len(rest) >= len(text) && string(rest[:len(text)]) == text {
			return len(text)
		}
	}
	return 0
}

// fail keeps the first problem, with its line.
func (t *text) fail(at int, problem string) {
	if t.problem == nil {
		at = min(max(at, 0), len(t.bytes))
		t.problem = fmt.Errorf("line %d %s", 1+bytes.Count(t.bytes[:at], []byte("\n")), problem)
	}
}

// at returns the byte at an offset, or 0 after the end.
func (t *text) at(offset int) byte {
	if offset < 0 || offset >= len(t.bytes) {
		return 0
	}
	return t.bytes[offset]
}

// start returns the offset of a node, including its anchor and its tag.
func (t *text) start(n *yaml.Node) int {
	if n.Line == 0 { // made from JSON
		return n.Column
	}
	if n.Line > len(t.lines) {
		t.fail(len(t.bytes), "is missing")
		return 0
	}
	at := t.lines[n.Line-1]
	for range n.Column - 1 { // columns count characters
		_, width := utf8.DecodeRune(t.bytes[min(at, len(t.bytes)):])
		at += width
	}
	return at
}

// content returns the offset of a node's content, after its anchor and its tag.
func (t *text) content(n *yaml.Node) int {
	at := t.start(n)
	for _, has := range []bool{n.Anchor != "" && n.Kind != yaml.AliasNode, isTagged(n)} {
		if !has {
			continue
		}
		for !strings.ContainsRune("\x00 \t\r\n,[]{}", rune(t.at(at))) {
			at++
		}
		if next := t.skip(at); !isEmptyPlain(n) {
			at = next
		}
	}
	return at
}

// isEmptyPlain reports whether a node has no text, as the value of "key:".
func isEmptyPlain(n *yaml.Node) bool {
	const written = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Style&written == 0
}

func isTagged(n *yaml.Node) bool { return n.Style&yaml.TaggedStyle != 0 }

func isFlow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

// isBlockCollection reports whether a node has its children on their own lines.
func isBlockCollection(n *yaml.Node) bool {
	return (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) && !isFlow(n)
}

// end returns the end of a node, without the line breaks and comments after it.
func (t *text) end(n *yaml.Node) int {
	at := t.content(n)
	switch {
	case n.Kind == yaml.AliasNode:
		return at + len("*") + len(n.Value)
	case n.Kind == yaml.ScalarNode:
		return t.endOfScalar(n, at)
	case len(n.Content) > 0:
		last := n.Content[len(n.Content)-1]
		if open := t.at(at); !isFlow(n) || open != '{' && open != '[' { // a pair in a list: [a: b]
			return t.end(last)
		}
		at = t.end(last)
	default:
		at++
	}
	for at = t.skip(at); t.at(at) == ','; {
		at = t.skip(at + 1)
	}
	if closing := t.at(at); closing != '}' && closing != ']' {
		t.fail(at, "has a list or mapping whose end is not found")
	}
	return at + 1
}

func (t *text) endOfScalar(n *yaml.Node, at int) int {
	switch {
	case isEmptyPlain(n):
		return at
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return t.endOfQuoted(at, '"', '\\')
	case n.Style&yaml.SingleQuotedStyle != 0:
		return t.endOfQuoted(at, '\'', '\'')
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		header := t.lineEnd(at)
		end, rest := t.match(header, n.Value)
		if rest == n.Value && rest != "" { // only blank lines
			rest = "\n" + rest
		}
		return t.blankLines(t.lineEnd(end), rest)
	default:
		end, _ := t.match(at, n.Value)
		return end
	}
}

// endOfQuoted returns the offset after the closing quote. After escape, any character
// is an ordinary one. escape may be the quote itself.
func (t *text) endOfQuoted(at int, quote, escape byte) int {
	if t.at(at) != quote {
		t.fail(at, "has a quoted text whose begin is not found")
		return at
	}
	for i := at + 1; i < len(t.bytes); i++ {
		switch {
		case t.bytes[i] == escape && (escape != quote || t.at(i+1) == quote):
			i++
		case t.bytes[i] == quote:
			return i + 1
		}
	}
	t.fail(at, "has a quoted text whose end is not found")
	return at
}

// blanks are the characters that folding may change: spaces, tabs and line breaks.
const blanks = " \t\r\n\u0085\u2028\u2029"

// match finds the text of a value without quotes. Only the value's blanks are written
// differently. rest is what follows the last visible character of the value.
func (t *text) match(at int, value string) (end int, rest string) {
	visible := strings.TrimRight(value, blanks)
	end = at
	for _, r := range visible {
		if strings.ContainsRune(blanks, r) {
			continue
		}
		found, width := utf8.DecodeRune(t.bytes[at:])
		for width > 0 && strings.ContainsRune(blanks, found) {
			at += width
			found, width = utf8.DecodeRune(t.bytes[at:])
		}
		if found != r {
			t.fail(at, "has a text that is not found")
			return end, ""
		}
		at += width
		end = at
	}
	return end, value[len(visible):]
}

// blankLines returns the end of the blank lines after a block scalar's text. rest is
// the end of its value.
func (t *text) blankLines(end int, rest string) int {
	more := strings.Count(rest, "\n")
	if strings.HasSuffix(rest, "\n") {
		more--
	}
	for range more {
		next := end + t.breakAt(end)
		if next == end {
			break
		}
		end = t.lineEnd(next)
	}
	return end
}

// skip returns the offset of the next token, after blanks and comments.
func (t *text) skip(at int) int {
	for at < len(t.bytes) {
		r, width := utf8.DecodeRune(t.bytes[at:])
		switch {
		case strings.ContainsRune(blanks, r):
			at += width
		case r == '#':
			at = t.lineEnd(at)
		default:
			return at
		}
	}
	return at
}

// skipBlanks returns the offset after blanks in the same line.
func (t *text) skipBlanks(at int) int {
	for t.at(at) == ' ' || t.at(at) == '\t' {
		at++
	}
	return at
}

// lineStart returns the beginning of an offset's line.
func (t *text) lineStart(at int) int { return bytes.LastIndexByte(t.bytes[:at], '\n') + 1 }

// lineEnd returns the end of an offset's line, before its line break.
func (t *text) lineEnd(at int) int {
	at = min(at, len(t.bytes))
	length := bytes.IndexByte(t.bytes[at:], '\n')
	if length < 0 {
		return len(t.bytes)
	}
	if length > 0 && t.bytes[at+length-1] == '\r' {
		length--
	}
	return at + length
}

// breakAt returns the length of the line break at the end of a line. It is 0 at the end
// of the text.
func (t *text) breakAt(lineEnd int) int {
	switch {
	case t.at(lineEnd) == '\r' && t.at(lineEnd+1) == '\n':
		return 2
	case t.at(lineEnd) == '\n':
		return 1
	default:
		return 0
	}
}

// lineBefore returns the end of the line before the line that begins at an offset.
func (t *text) lineBefore(lineStart int) int {
	end := lineStart - 1
	if t.at(end-1) == '\r' {
		end--
	}
	return end
}

// oneLine reports whether there is no line break between two offsets.
func (t *text) oneLine(from, to int) bool { return !bytes.ContainsAny(t.bytes[from:to], "\r\n") }
