// SPDX-License-Identifier: Apache-2.0

package commandline

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
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
			if err := root.Execute(); !flagset.IsUsage(err) {
				t.Errorf("%q ends with %v, want a usage error", args, err)
			}
			if out.Len() > 0 {
				t.Errorf("%q prints %q, want nothing", args, &out)
			}
		})
	}
}

// TestAFlagHasOneValue: a second value is refused with a sentence that names both. Lists
// accept several.
func TestAFlagHasOneValue(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string // the error, empty for none
	}{
		{[]string{"--name=a", "--name=b"}, `--name "b" is given twice, first as "a": give it once`},
		{[]string{"--name=a", "--name=a"}, ""},
		{[]string{"--name=b"}, ""},
		{[]string{"--name=", "--name=b"}, `--name "b" is given twice, first as "": give it once`},
		{[]string{"--all=3", "child", "--all=4"}, `--all "4" is given twice, first as "3": give it once`},
		{[]string{"child", "--own", "--own=false"}, `--own "false" is given twice, first as "true": give it once`},
		{[]string{"child", "--wait=1s", "--wait=60s"}, `--wait "60s" is given twice, first as "1s": give it once`},
		{[]string{"child", "--wait=soon"}, "--wait \"soon\" "},
		{[]string{"--list=a", "--list=b"}, ""},
	} {
		root := &cobra.Command{Use: "program", Args: NoArguments, RunE: func(*cobra.Command, []string) error { return nil }}
		child := &cobra.Command{Use: "child", Args: NoArguments, RunE: root.RunE}
		root.AddCommand(child)
		root.Flags().String("name", "b", "")
		list := root.Flags().StringSlice("list", nil, "")
		root.PersistentFlags().Int("all", 1, "")
		child.Flags().Bool("own", false, "")
		child.Flags().Duration("wait", 0, "")
		Prepare(root)
		root.SetArgs(tt.args)
		err := root.Execute()
		if tt.want == "" && err != nil || tt.want != "" && (!flagset.IsUsage(err) || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%q ends with %v, want %q", tt.args, err, tt.want)
		}
		if strings.HasPrefix(tt.args[0], "--list") && len(*list) != 2 {
			t.Errorf("the list has %q", *list)
		}
	}
}

// TestOneValueChangesNoHelp: the help of a flag does not change because it has one value.
func TestOneValueChangesNoHelp(t *testing.T) {
	cmd := &cobra.Command{Use: "program"}
	cmd.Flags().Bool("own", false, "a switch")
	cmd.Flags().Duration("wait", time.Second, "how `long`")
	cmd.Flags().String("name", "a", "a text")
	before := cmd.Flags().FlagUsages()
	setOnce(cmd)
	if after := cmd.Flags().FlagUsages(); after != before {
		t.Errorf("the flags were told of as\n%s\nand are as\n%s", before, after)
	}
}

func TestMisspeltCommands(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"verison"}, `"verison" is not a command of program: did you mean version?`},
		{[]string{"verison", "-f", "x"}, `"verison" is not a command of program: did you mean version?`},
		{[]string{"help", "verison"}, `"verison" is not a command of program: did you mean version?`},
		{[]string{"help", "version", "please"}, `"please" is not a flag, and program version takes nothing else: run 'program version --help' to see what there is`},
		{[]string{"elsewhere"}, `"elsewhere" is not a command of program: run 'program --help' to see what there is`},
		{[]string{"version", "please"}, `"please" is not a flag, and program version takes nothing else: run 'program version --help' to see what there is`},
		{[]string{"--pleas", "verison"}, "--pleas is not a flag of program: run 'program --help' to see what there is"},
	} {
		root := &cobra.Command{Use: "program", Args: NoArguments, RunE: func(*cobra.Command, []string) error { return nil }}
		root.AddCommand(VersionCommand("program", "v1", io.Discard))
		Prepare(root)
		root.SetArgs(tt.args)
		if err := root.Execute(); err == nil || err.Error() != tt.want || !flagset.IsUsage(err) {
			t.Errorf("%q:\ngot  %v\nwant %s", tt.args, err, tt.want)
		}
	}
}

// TestMisspeltFlags: the sentence also suggests flags of the commands above, and flags that
// were given with one dash.
func TestMisspeltFlags(t *testing.T) {
	const hint = "run 'program child --help' to see what there is"
	for flag, want := range map[string]string{
		"--shoot-pod-cidrs=a": "--shoot-pod-cidrs is not a flag of program child: did you mean --shoot-pod-cidr?",
		"--shoot-pod-cdir":    "--shoot-pod-cdir is not a flag of program child: did you mean --shoot-pod-cidr?",
		"--al":                "--al is not a flag of program child: did you mean --all?",
		"--hlep":              "--hlep is not a flag of program child: did you mean --help?",
		"-shoot-pod-cidr":     "-shoot-pod-cidr is not a flag of program child: did you mean --shoot-pod-cidr?",
		"--secret-one":        "--secret-one is not a flag of program child: " + hint,
		"--elsewhere":         "--elsewhere is not a flag of program child: " + hint,
		"-x":                  "-x is not a flag of program child: " + hint,
	} {
		root := &cobra.Command{Use: "program"}
		root.PersistentFlags().Int("all", 1, "")
		child := &cobra.Command{Use: "child", RunE: func(*cobra.Command, []string) error { return nil }}
		child.Flags().String("shoot-pod-cidr", "", "")
		child.Flags().String("secret-ones", "", "")
		if err := child.Flags().MarkHidden("secret-ones"); err != nil {
			t.Fatal(err)
		}
		root.AddCommand(child)
		Prepare(root)
		root.SetArgs([]string{"child", flag})
		if err := root.Execute(); err == nil || err.Error() != want || !flagset.IsUsage(err) {
			t.Errorf("%s:\ngot  %v\nwant %s", flag, err, want)
		}
	}
}

// TestHelpOfACommand: `help command` prints what `command --help` prints.
func TestHelpOfACommand(t *testing.T) {
	help := func(args ...string) string {
		var out bytes.Buffer
		root := &cobra.Command{Use: "program", Args: NoArguments, RunE: func(*cobra.Command, []string) error { return nil }}
		root.AddCommand(VersionCommand("program", "v1", io.Discard))
		Prepare(root)
		root.SetArgs(args)
		root.SetOut(&out)
		if err := root.Execute(); err != nil {
			t.Errorf("%q ends with %v", args, err)
		}
		return out.String()
	}
	for _, command := range []string{"", "version"} {
		args := strings.Fields(command)
		if got, want := help(append([]string{"help"}, args...)...), help(append(args, "--help")...); got != want || got == "" {
			t.Errorf("help %s prints\n%s\nwant\n%s", command, got, want)
		}
	}
}

// TestApplyVariables: the variables of every command are known to each.
func TestApplyVariables(t *testing.T) {
	for variable, want := range map[string]string{
		"PROGRAM_NAME=c":  "",
		"PROGRAM_ALL=4":   "",
		"PROGRAM_OTHER=a": "", // of the other command
		"PROGRAM_OTHR=a":  "PROGRAM_OTHR is not a variable of program: did you mean PROGRAM_OTHER?",
		"PROGRAM_ALL=x":   `PROGRAM_ALL "x" `,
		"PROGRAM_VOID=x":  "PROGRAM_VOID is not a variable of program: each is named after a flag, and 'program child --help' shows those",
	} {
		var name string
		root := &cobra.Command{Use: "program"}
		root.PersistentFlags().Int("all", 1, "")
		child := &cobra.Command{Use: "child", RunE: func(cmd *cobra.Command, _ []string) error {
			return ApplyVariables(cmd, "PROGRAM", flagset.Variables{variable})
		}}
		child.Flags().StringVar(&name, "name", "", "")
		other := &cobra.Command{Use: "other"}
		other.Flags().String("other", "", "")
		root.AddCommand(child, other)
		Prepare(root)
		root.SetArgs([]string{"child"})
		err := root.Execute()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", variable, err, want)
		}
		if variable == "PROGRAM_NAME=c" && name != "c" {
			t.Errorf("the variable gives %q", name)
		}
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

// TestASentenceCannotChangeTheTerminal: parts of errors are words of peers, and of the rules of
// other programs.
func TestASentenceCannotChangeTheTerminal(t *testing.T) {
	err := errors.New("the rule \"\x1b[2J\u009b2Jé\"\tis\r\x00 in the way")
	if got, want := Sentence("program", err), "program: the rule \"?[2J?2Jé\" is?? in the way"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := Printable("a\nb\a\n"), "a\nb?\n"; got != want {
		t.Errorf("got %q, want %q: lines stay", got, want)
	}
}

func TestSentenceIsOneLine(t *testing.T) {
	err := errors.Join(errors.New("this"), errors.New("that"))
	if got, want := Sentence("program", err), "program: this; that"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
