// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
	"github.com/shoot-proxy/proxy-client/internal/exitserver"
)

// policyCommand returns the commands for policy files.
func policyCommand(env environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Work with policy files",
		Args:  commandline.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			return &flagset.UsageError{Problem: "no command is given: 'proxy-exit policy check FILE' checks a file"}
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "check FILE",
		Short: "Say whether a policy file can be used",
		Long:  "check reads a file as serve does. Exit code 0 means that serve would use it, 2 that it would not.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &flagset.UsageError{Problem: "policy check needs one file: name it, as in 'proxy-exit policy check policy.yaml'"}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := exitserver.ReadPolicy(args[0])
			if err != nil {
				return policyError("", args[0], err)
			}
			policy, err := exitpolicy.Parse(data)
			if err != nil {
				return policyError("", args[0], err)
			}
			_, err = fmt.Fprintf(env.stdout, "%s can be used: %s\n", args[0], countOf(policy.Rules()))
			return err
		},
	})
	return cmd
}

// countOf says how many rules a policy has, and what none of them means.
func countOf(rules int) string {
	switch rules {
	case 0:
		return "no rules, so no client may reach anything"
	case 1:
		return "1 rule"
	default:
		return fmt.Sprintf("%d rules", rules)
	}
}

// policyError returns what is wrong with a policy file. flag is empty if an argument has
// named it.
func policyError(flag, path string, err error) error {
	_, isPath := errors.AsType[*fs.PathError](err)
	_, isNumber := errors.AsType[syscall.Errno](err)
	switch {
	case (isPath || isNumber) && flag != "":
		return flagset.UnreadableInPod(flag, path, err)
	case isPath || isNumber:
		err = errors.New("cannot be read: " + flagset.FileProblemInPod(err))
	}
	if flag != "" {
		return &flagset.UsageError{Flag: flag, Value: path, Problem: err.Error(), Err: err}
	}
	return &flagset.UsageError{Problem: fmt.Sprintf("%q %s", path, err), Err: err}
}
