// SPDX-License-Identifier: Apache-2.0

// Package markdown runs what a document tells its readers to do, so that the document
// stays true.
//
//	document, err := markdown.Read("docs/install.md")
//	steps, err := document.Section("5. The webhook")
//	runner, err := markdown.NewRunner(folder, environment)
//	defer runner.Close()
//	err = runner.Run(ctx, steps)
//
// Two kinds of blocks are steps. A block of `console` has commands: lines that begin with
// "$ " (or all of them with "# ", as root), with their further lines. Below each command
// is its output. A block of another language is a file to write, if its first line is a
// comment with only a file's name, such as "# values.yaml". All other blocks are shown
// and not run.
//
// A command is continued by lines that begin with "> ", by a backslash at the end of its
// line, and by a here-document up to its last line. In the output, "…" stands for any
// text of a line. A line with only "…" stands for any number of lines.
//
// A block that no test can run has a comment directly above it with the reason: "<!-- not
// run: makes kind clusters -->".
package markdown
