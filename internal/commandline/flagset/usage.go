// SPDX-License-Identifier: Apache-2.0

package flagset

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/spelling"
)

// UsageError is bad input: one sentence that names the flag and the value. The
// program prints it, changes nothing and exits with code 2.
type UsageError struct {
	// Flag is the flag at fault with its dashes, such as --mode, or the environment
	// variable that set it. It is empty if no single flag is at fault.
	Flag string
	// Value is the value that was given, empty if there was none.
	Value string
	// Empty is true if a value was given, and that is the empty text.
	Empty bool
	// Problem says what is wrong with it and what to write instead. It goes on with the
	// sentence that Flag and Value begin, so its first word is a verb.
	Problem string
	// Err is the cause, or nil. It serves errors.Is and is never printed, since
	// Problem says all of it.
	Err error
}

// Error returns the sentence, without a full stop:
//
//	--mode "ftp" is not a mode: write auto, grpc, http-connect, https-proxy or h2-connect
func (e *UsageError) Error() string {
	switch {
	case e.Flag == "":
		return e.Problem
	case e.Value == "" && !e.Empty:
		return e.Flag + " " + e.Problem
	default:
		return fmt.Sprintf("%s %q %s", e.Flag, e.Value, e.Problem)
	}
}

// Unwrap returns the cause, or nil.
func (e *UsageError) Unwrap() error { return e.Err }

// IsUsage reports whether err is bad input, for which the exit code is 2.
func IsUsage(err error) bool {
	var usage *UsageError
	return errors.As(err, &usage)
}

// FlagError returns an error of pflag or cobra about a command line as a
// [*UsageError]. The sentence points to the help of program, such as
// "init-redirect dump". For an unknown flag it names the known flag that is
// spelled most like it. Nil, a request for help and a UsageError are returned
// unchanged.
func FlagError(program string, err error, known ...string) error {
	var usage *UsageError
	if err == nil || errors.Is(err, pflag.ErrHelp) || errors.As(err, &usage) {
		return err
	}
	hint := fmt.Sprintf("run '%s --help' to see what there is", program)

	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &unknown):
		if near := spelling.Nearest(strings.TrimLeft(dashed(unknown), "-"), known); near != "" && len(dashed(unknown)) > len("-x") {
			hint = "did you mean --" + near + "?"
		}
		return &UsageError{Flag: dashed(unknown), Problem: fmt.Sprintf("is not a flag of %s: %s", program, hint), Err: err}
	case errors.As(err, &missing):
		return &UsageError{Flag: "--" + missing.GetFlag().Name, Problem: "needs a value: " + hint, Err: err}
	case errors.As(err, &invalid):
		value := invalid.GetValue()
		return &UsageError{Flag: "--" + invalid.GetFlag().Name, Value: value, Empty: value == "" && !errors.Is(err, errEmpty), Problem: invalid.Unwrap().Error(), Err: err}
	case errors.As(err, &syntax):
		return &UsageError{Flag: syntax.GetSpecifiedFlag(), Problem: "is not how a flag is written: " + hint, Err: err}
	default:
		// cobra: unknown command, too many arguments. Some have two lines.
		sentence, _, _ := strings.Cut(err.Error(), "\n")
		return &UsageError{Problem: fmt.Sprintf("%s: %s", sentence, hint), Err: err}
	}
}

// dashed returns the unknown flag as it was written.
func dashed(unknown *pflag.NotExistError) string {
	if short := unknown.GetSpecifiedShortnames(); short != "" {
		return "-" + short
	}
	return "--" + unknown.GetSpecifiedName()
}
