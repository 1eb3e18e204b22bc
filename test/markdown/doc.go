// SPDX-License-Identifier: Apache-2.0

// Package markdown runs what a document tells its readers to do, so that the document
// cannot rot.
//
//	document, err := markdown.Read("docs/install.md")
//	steps, err := document.Section("5. The webhook")
//	runner, err := markdown.NewRunner(folder, environment)
//	defer runner.Close()
//	err = runner.Run(ctx, steps)
//
// A document tells two things. A block of `console` has commands: lines that begin with
// "$ " (or all of them with "# ", as root), what continues them, and below what they print. A block of
// another language whose first line is a comment with nothing but a file's name, such as
// "# values.yaml", is to be written into that file. All other blocks are shown and not
// done.
//
// A command is continued by lines that begin with "> ", by a backslash at the end of its
// line, and by a here-document up to its last line. In what it prints, "…" stands for any
// text of a line, and a line of only that for any lines.
//
// A block that no test can run has a comment right above it which says why:
// "<!-- not run: makes kind clusters -->".
package markdown
