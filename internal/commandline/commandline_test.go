// SPDX-License-Identifier: Apache-2.0

package commandline

import (
	"bytes"
	"errors"
	"testing"

	"github.com/spf13/cobra"

	"github.com/shoot-proxy/proxy-client/internal/options"
)

func TestBadInputIsAUsageErrorAndPrintsNothing(t *testing.T) {
	for name, args := range map[string][]string{
		"an argument":             {"please"},
		"an unknown flag":         {"--pleas"},
		"an argument for version": {"version", "please"},
		"completion":              {"completion", "bash"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			root := &cobra.Command{Use: "program", Args: NoArguments, RunE: func(*cobra.Command, []string) error { return nil }}
			root.AddCommand(VersionCommand("program", "v1", &out))
			Prepare(root)
			root.SetArgs(args)
			root.SetOut(&out)
			root.SetErr(&out)
			if err := root.Execute(); !options.IsUsage(err) {
				t.Errorf("%q ends with %v, want a usage error", args, err)
			}
			if out.Len() > 0 {
				t.Errorf("%q prints %q, want nothing", args, &out)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	if err := VersionCommand("program", VersionOf("v1.2.3"), &out).Execute(); err != nil || out.String() != "program v1.2.3\n" {
		t.Errorf("the version is printed as %q, error %v", &out, err)
	}
	if got := VersionOf(""); got == "" {
		t.Error("a build that the linker was told no version has none")
	}
}

func TestSentenceIsOneLine(t *testing.T) {
	err := errors.Join(errors.New("this"), errors.New("that"))
	if got, want := Sentence("program", err), "program: this; that"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
