// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package kernelerror has the error of everything that reads or changes the kernel.
//
// It owns the form of the sentence and the kinds of failures that callers tell apart.
// It never classifies: the package that made the call knows what its failure means.
package kernelerror

import (
	"errors"
	"fmt"
	"strings"
)

// Error is something that the kernel, the permissions or the image do not allow.
type Error struct {
	// Op is what was attempted, and on what.
	Op string
	// Cure is what to do about it.
	Cure string
	// Err is what happened.
	Err error
}

// Error says what was attempted, what happened and what to do.
func (e *Error) Error() string {
	// Programs end their sentences with a newline, which here is before a bracket.
	return strings.ReplaceAll(OneLine(fmt.Sprintf("%s: %v: %s", e.Op, e.Err, e.Cure)), " )", ")")
}

// Unwrap returns what happened.
func (e *Error) Unwrap() error { return e.Err }

// OneLine returns a text of several lines as one line.
func OneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Permission returns the error of a call that needs capability NET_ADMIN.
func Permission(op string, err error) *Error {
	return &Error{Op: op, Cure: "the container needs capability NET_ADMIN", Err: fmt.Errorf("%w (%w)", ErrPermission, err)}
}

// Errors that an [*Error] can wrap.
var (
	// ErrPermission: a capability is missing.
	ErrPermission = errors.New("permission denied")
	// ErrMissingBinary: a program is not in PATH.
	ErrMissingBinary = errors.New("program not found")
	// ErrMissingModule: the kernel lacks a feature.
	ErrMissingModule = errors.New("not supported by this kernel")
	// ErrForeignTable: a table that iptables-nft cannot show as a whole.
	ErrForeignTable = errors.New("a table holds what iptables cannot show")
	// ErrIPv6Disabled: there is an IPv6 CIDR, and the kernel refuses IPv6.
	ErrIPv6Disabled = errors.New("IPv6 is disabled in this kernel")
	// ErrBusy: another process works on the rules and did not finish in time.
	ErrBusy = errors.New("held by another process")
)
