// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/options"
)

// checkDumpFlags refuses the flags that init-redirect dump would refuse, before a container
// is added to a pod: its entry stays there. A path of --netns is one of the pod, so it is
// not looked for here.
func checkDumpFlags(args []string) error {
	const program = "init-redirect dump"
	o := options.NewInitRedirect()
	flags := pflag.NewFlagSet(program, pflag.ContinueOnError)
	flags.Usage = func() {}
	o.AddFlags(flags)
	o.AddDumpFlags(flags)
	err := flags.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		return &flagset.UsageError{Flag: "--help", Problem: fmt.Sprintf("would need a container in the pod: '%s dump --help' says what there is, and README.md has all flags of init-redirect", name)}
	}
	if err != nil {
		var known []string
		flags.VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		return flagset.FlagError(program, err, known...)
	}
	if flags.NArg() > 0 {
		return &flagset.UsageError{Problem: fmt.Sprintf("%q is no flag: write flags of %s behind --, such as --to 100.64.3.7:9100", flags.Arg(0), program)}
	}
	if o.Watch {
		return &flagset.UsageError{Flag: "--watch", Problem: "would go on in the pod after this command: run it with 'kubectl debug -it' in place of '--attach', where Ctrl-C ends it (docs/debugging.md, The rules of a running pod)"}
	}
	o.Netns = ""
	_, err = o.ConfigWithoutCIDRs()
	return err
}
