// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"io"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/probe"
)

// phrases returns what pkg/redirect says of its functions and fields, each followed by
// what a user of this command reads instead.
func phrases() []string {
	return []string{
		"nothing of package redirect stands in this network namespace: look whether this is the right one and whether redirect.Apply ran in it",
		"nothing of init-redirect stands in this network namespace: look whether this is the right pod and whether its init container ran",

		"where the sidecar (uid", "where proxy-client (uid",
		"No rules of package redirect stand", "No rules of init-redirect stand",
		"redirect.Apply, with the same Config, repairs rules", "`init-redirect apply`, with the init container's flags, repairs rules",
		"call redirect.Apply with the Config that they were made for",
		"run `init-redirect apply` with the init container's flags: " + probe.HowTo,
		"call redirect.Apply again", "run init-redirect again",
		"which redirect.Apply adds", "which init-redirect adds",
		"call redirect.Verify, which tries it", "run `init-redirect verify`, which tries it",
		"call redirect.Verify, then redirect.Apply to repair them", "run `init-redirect verify`, then `init-redirect apply` to repair them",
		"call redirect.Verify, then redirect.Apply to repair",
		"run `init-redirect verify`, then `init-redirect apply` with the init container's flags: " + probe.HowTo,
		"call redirect.Plan to see what is asked for, and redirect.Dump to see", "run `init-redirect plan` to see what is asked for, and `init-redirect dump` to see",
		"call redirect.Dump in this pod", "run `init-redirect dump` in this pod",
		"call redirect.Clean with Options.Backend nft", "run `init-redirect clean --iptables nft`",
		"call redirect.Clean with Options.Backend legacy", "run `init-redirect clean --iptables legacy`",
		"call redirect.Clean with CleanOptions.Drain first", "use `clean --drain` first",
		"call redirect.Clean again", "run `init-redirect clean` again",
		"redirect.Clean undoes it by:", "clean undoes it by:",
		"set Options.Backend to ", "use --iptables ",
		"(Options.Backend)", "(--iptables)",
		"with an empty Options.Netns inside", "without --netns inside",
		"its shoot CIDRs and exclusions most likely differ from Config.Shoot and Config.Exclude", "its --shoot-*-cidr and --exclude-cidr most likely differ from those of init-redirect",
		"by redirect.Verify and the sidecar (Report.Connections has them)", "by init-redirect and proxy-client (--output=json has them)",
	}
}

// inCommandWords returns a text of pkg/redirect in the words of this command.
func inCommandWords(text string) string { return strings.NewReplacer(phrases()...).Replace(text) }

// commandWriter writes the log lines of pkg/redirect in the words of this command. Each
// Write is one whole line, as package slog writes it.
type commandWriter struct{ to io.Writer }

// Write implements [io.Writer].
func (w commandWriter) Write(line []byte) (int, error) {
	if _, err := io.WriteString(w.to, inCommandWords(string(line))); err != nil {
		return 0, err
	}
	return len(line), nil
}

// translatedError is an error of pkg/redirect in the words of this command.
type translatedError struct {
	text string
	err  error
}

// Error returns the translated sentence.
func (e *translatedError) Error() string { return e.text }

// Unwrap returns the error as pkg/redirect has it.
func (e *translatedError) Unwrap() error { return e.err }

// translated returns err itself if it needs no translation.
func translated(err error) error {
	if err == nil {
		return nil
	}
	if text := inCommandWords(err.Error()); text != err.Error() {
		return &translatedError{text, err}
	}
	return err
}
