// SPDX-License-Identifier: Apache-2.0

package markdown

import (
	"fmt"
	"regexp"
	"strings"
)

// console is the language of blocks with commands.
const console = "console"

// fileName matches a first line that names the file to write.
var fileName = regexp.MustCompile(`^# ([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+)$`)

// steps returns the steps of a block.
func (b block) steps() ([]Step, error) {
	if b.language == console {
		return b.commands()
	}
	if len(b.lines) == 0 {
		return nil, nil
	}
	match := fileName.FindStringSubmatch(b.lines[0])
	if match == nil {
		return nil, nil
	}
	return []Step{{Line: b.first + 1, File: match[1], Content: strings.Join(b.lines, "\n") + "\n"}}, nil
}

// commands returns the commands of a console block.
func (b block) commands() ([]Step, error) {
	var steps []Step
	prompt := "$ "
	if len(b.lines) > 0 && strings.HasPrefix(b.lines[0], "# ") {
		prompt = "# " // the prompt of root
	}
	for i := 0; i < len(b.lines); {
		command, prompted := strings.CutPrefix(b.lines[i], prompt)
		if !prompted {
			return nil, fmt.Errorf("%d: the console shows %q before any command: begin commands with \"$ \"", b.first+i+1, b.lines[i])
		}
		step := Step{Line: b.first + i + 1}
		var rest []string
		if step.Command, rest = continued(command, b.lines[i+1:]); rest == nil {
			return nil, fmt.Errorf("%d: the console ends before the here-document does", step.Line)
		}
		i = len(b.lines) - len(rest)
		var output []string
		for ; i < len(b.lines) && !strings.HasPrefix(b.lines[i], prompt); i++ {
			output = append(output, b.lines[i])
		}
		step.Output = strings.TrimSpace(strings.Join(output, "\n"))
		steps = append(steps, step)
	}
	return steps, nil
}

// hereDocument finds the word that ends a here-document.
var hereDocument = regexp.MustCompile(`<<-?\s*(['"]?)([A-Za-z_]+)['"]?`)

// continued adds to a command its further lines, and returns the rest. The rest is nil if
// the end of a here-document is missing.
func continued(command string, lines []string) (whole string, rest []string) {
	whole, rest = command, lines
	last := command // the line that may be continued
	for {
		switch match := hereDocument.FindStringSubmatch(last); {
		case match != nil:
			for ended := false; !ended; rest = rest[1:] {
				if len(rest) == 0 {
					return "", nil
				}
				line := strings.TrimPrefix(rest[0], "> ")
				whole += "\n" + line
				ended = line == match[2]
			}
			last = ""
		case len(rest) > 0 && strings.HasPrefix(rest[0], "> "):
			last = strings.TrimPrefix(rest[0], "> ")
			whole, rest = whole+"\n"+last, rest[1:]
		case len(rest) > 0 && strings.HasSuffix(last, `\`):
			last = rest[0]
			whole, rest = whole+"\n"+last, rest[1:]
		default:
			return whole, rest
		}
	}
}
