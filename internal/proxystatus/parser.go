// SPDX-License-Identifier: Apache-2.0

package proxystatus

import (
	"encoding/base64"
	"strings"
)

// parser reads structured fields (RFC 9651, section 4.2) from the beginning of rest.
type parser struct{ rest string }

// kind is the type of an item.
type kind uint8

const (
	number kind = iota
	text
	token
	binary
	boolean
	date
	display
)

// item is a bare item. value is its content, for a text and a token.
type item struct {
	kind  kind
	value string
}

const (
	digits  = "0123456789"
	lower   = "abcdefghijklmnopqrstuvwxyz"
	letters = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	tchars  = letters + digits + "!#$%&'*+-.^_`|~" // RFC 9110, section 5.6.2
)

// skip removes characters of set from the beginning.
func (p *parser) skip(set string) { p.rest = strings.TrimLeft(p.rest, set) }

// take removes c from the beginning, and reports whether it was there.
func (p *parser) take(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// run removes and returns the characters of set from the beginning.
func (p *parser) run(set string) string {
	is := p.rest[:len(p.rest)-len(strings.TrimLeft(p.rest, set))]
	p.rest = p.rest[len(is):]
	return is
}

// next returns the first character, or 0.
func (p *parser) next() byte {
	if p.rest == "" {
		return 0
	}
	return p.rest[0]
}

// key reads the name of a parameter.
func (p *parser) key() (string, bool) {
	if c := p.next(); c != '*' && !strings.ContainsRune(lower, rune(c)) {
		return "", false
	}
	return p.run(lower + digits + "_-.*"), true
}

// bareItem reads an item without its parameters.
func (p *parser) bareItem() (item, bool) {
	switch c := p.next(); {
	case c == '"':
		return p.text()
	case c == '*' || c != 0 && strings.IndexByte(letters, c) >= 0:
		return item{token, p.run(tchars + ":/")}, true
	case c == '-' || c != 0 && strings.IndexByte(digits, c) >= 0:
		return item{kind: number}, p.number(true)
	case c == '?':
		return item{kind: boolean}, p.boolean()
	case c == ':':
		return item{kind: binary}, p.binary()
	case c == '@':
		p.take('@')
		return item{kind: date}, p.number(false)
	case c == '%':
		return item{kind: display}, p.display()
	default:
		return item{}, false
	}
}

// text reads a string: printable ASCII in double quotes.
func (p *parser) text() (item, bool) {
	p.take('"')
	var b strings.Builder
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return item{text, b.String()}, true
		case c == '\\':
			if i++; i == len(p.rest) || p.rest[i] != '"' && p.rest[i] != '\\' {
				return item{}, false
			}
			b.WriteByte(p.rest[i])
		case c < ' ' || c > '~':
			return item{}, false
		default:
			b.WriteByte(c)
		}
	}
	return item{}, false
}

// number reads an integer, or a decimal if that may be.
func (p *parser) number(decimal bool) bool {
	const mostInteger, mostWhole, mostFraction = 15, 12, 3 // digits
	p.take('-')
	whole := p.run(digits)
	if whole == "" || len(whole) > mostInteger {
		return false
	}
	if !decimal || !p.take('.') {
		return true
	}
	fraction := p.run(digits)
	return len(whole) <= mostWhole && fraction != "" && len(fraction) <= mostFraction
}

func (p *parser) boolean() bool {
	p.take('?')
	return p.take('0') || p.take('1')
}

// binary reads base64 between colons.
func (p *parser) binary() bool {
	p.take(':')
	content, rest, found := strings.Cut(p.rest, ":")
	p.rest = rest
	_, err := base64.StdEncoding.DecodeString(content)
	return found && err == nil
}

// display reads percent-encoded text in double quotes, behind a percent sign.
func (p *parser) display() bool {
	p.take('%')
	if !p.take('"') {
		return false
	}
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return true
		case c == '%':
			if i+2 >= len(p.rest) || strings.Trim(p.rest[i+1:i+3], digits+"abcdef") != "" {
				return false
			}
			i += 2
		case c < ' ' || c > '~':
			return false
		}
	}
	return false
}
