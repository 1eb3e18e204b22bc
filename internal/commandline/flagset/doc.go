// SPDX-License-Identifier: Apache-2.0

// Package flagset is what the flags of all our programs have in common: values that
// flags can have, environment variables that set them, and the errors that refuse them.
// It owns no flag, and knows nothing of commands.
//
//	flags := []flagset.Flag{
//		flagset.Text("mode", &o.Mode, "`mode` of the servers"),
//		flagset.Duration("dial-timeout", &o.DialTimeout, "a `duration` such as 8s"),
//	}
//	flagset.Add(fs, flags)
//	... // cobra or pflag parses
//	if err := flagset.ApplyEnvironment(fs, "PROXY_CLIENT", os.LookupEnv); err != nil {
//		return err
//	}
//
// Bad input is a [*UsageError]: one sentence that names the flag and the value. The
// program then exits with code 2. [FlagError] returns errors of parsing as one, which
// suits cobra's SetFlagErrorFunc. [IsUsage] tells bad input from all other errors.
package flagset
