// SPDX-License-Identifier: Apache-2.0

package flagset

import (
	"errors"
	"fmt"
	"testing"

	"github.com/spf13/pflag"
)

func TestNameVariablePassesOtherErrors(t *testing.T) {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	mode := "auto"
	Add(fs, []Flag{Text("mode", &mode, "")})
	other := errors.New("other")
	for _, err := range []error{nil, other, &UsageError{Problem: "no flag"}, &UsageError{Flag: "--mode", Value: "ftp", Problem: "by flag"}} {
		if got := NameVariable(fs, err); !errors.Is(got, err) {
			t.Errorf("NameVariable(%v) = %v", err, got)
		}
	}
}

func TestFlagErrorPassesWhatIsNoMistake(t *testing.T) {
	if err := FlagError("x", nil); err != nil {
		t.Errorf("nil became %v", err)
	}
	if err := FlagError("x", pflag.ErrHelp); !errors.Is(err, pflag.ErrHelp) || IsUsage(err) {
		t.Errorf("a request for help became bad input: %v", err)
	}
	usage := &UsageError{Flag: "--mode", Problem: "x"}
	if err := FlagError("x", usage); err != error(usage) {
		t.Errorf("a usage error was changed: %v", err)
	}
	err := FlagError("proxy-client", errors.New("unknown command \"chekc\" for \"proxy-client\"\n\nDid you mean this?\n\tcheck\n"))
	want := `unknown command "chekc" for "proxy-client": run 'proxy-client --help' to see what there is`
	if !IsUsage(err) || err.Error() != want {
		t.Errorf("cobra's error became %q, want %q", err, want)
	}
}

func TestIsUsage(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("iptables: permission denied"), false},
		{&UsageError{Problem: "x"}, true},
		{fmt.Errorf("start: %w", &UsageError{Problem: "x"}), true},
	} {
		if got := IsUsage(tt.err); got != tt.want {
			t.Errorf("IsUsage(%v) = %v: the exit code would be wrong", tt.err, got)
		}
	}
	cause := errors.New("cause")
	if err := (&UsageError{Flag: "--ca-cert", Value: "x", Problem: "y", Err: cause}); !errors.Is(err, cause) {
		t.Error("a UsageError hides what was underneath")
	}
}
