// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/pkg/redirect"
)

// environment is what the process was given.
type environment struct {
	args           []string
	variables      flagset.Variables
	stdout, stderr io.Writer
	// terminationLog is the file from which the kubelet reads a container's termination
	// message. It is written only if it exists.
	terminationLog string
	version        string
}

// The exit codes, on which scripts and users of the kubelet rely.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotAllowed  = 3
	exitNotVerified = 4
	kindFailed      = "failed"
	kindUsage       = "bad configuration"
	kindNotAllowed  = "not allowed"
	kindNotVerified = "verification failed"
	maxLastWords    = 3000 // the kubelet cuts at 4096 bytes, JSON included
)

// run is the program: it returns the exit code.
func run(ctx context.Context, env environment) int {
	root := newCommand(env)
	root.SetArgs(env.args)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	code, kind := exitCode(err)
	fmt.Fprintln(env.stderr, commandline.Sentence("init-redirect", err)) //nolint:errcheck // there is no other place to report to
	writeLastWords(env.terminationLog, code, kind, err)
	return code
}

// exitCode returns the code and kind of an error, as README promises them.
func exitCode(err error) (code int, kind string) {
	var config *redirect.ConfigError
	var collision *redirect.CollisionError
	var kernel *redirect.KernelError
	var verify *redirect.VerifyError
	switch {
	case flagset.IsUsage(err), errors.As(err, &config), errors.As(err, &collision):
		return exitUsage, kindUsage
	case errors.As(err, &kernel):
		return exitNotAllowed, kindNotAllowed
	case errors.As(err, &verify):
		return exitNotVerified, kindNotVerified
	default:
		return exitFailed, kindFailed
	}
}

// writeLastWords writes one line of JSON to the termination log, for `kubectl describe pod`.
func writeLastWords(file string, code int, kind string, err error) {
	message := err.Error()
	if len(message) > maxLastWords {
		message = message[:maxLastWords] + "…"
	}
	line, jsonErr := json.Marshal(struct {
		ExitCode int    `json:"exitCode"`
		Kind     string `json:"kind"`
		Error    string `json:"error"`
	}{code, kind, message})
	if jsonErr != nil {
		return
	}
	// Without O_CREATE: outside of a container the file does not exist. If it cannot be
	// written, the error is on standard error already.
	out, openErr := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if openErr != nil {
		return
	}
	_, _ = out.Write(append(line, '\n'))
	_ = out.Close()
}

// config returns the configuration of package redirect for validated options.
func config(cfg *options.InitRedirectConfig) redirect.Config {
	return redirect.Config{
		Shoot:        cfg.CIDRs.Shoot(),
		Exclude:      cfg.CIDRs.Excluded(),
		ExcludePorts: cfg.ExcludePorts,
		ExcludeUIDs:  cfg.ExcludeUIDs,
		ProxyPort:    cfg.ProxyPort,
		ProxyUID:     cfg.ProxyUID,
	}
}

// named returns an error of package redirect in the words of this command. If the error is
// about a field or an aggregated CIDR, it names the user's own flag and value.
func named(set *cidr.Set, err error) error {
	var collision *redirect.CollisionError
	if errors.As(err, &collision) {
		if entry, ok := set.Covering(collision.Address); ok {
			return &flagset.UsageError{Flag: entry.List, Value: entry.Value, Problem: collision.Problem(), Err: err}
		}
	}
	var refused *redirect.ConfigError
	if errors.As(err, &refused) {
		if flag, ok := flagOf(refused.Field); ok {
			return &flagset.UsageError{Flag: flag, Value: refused.Value, Problem: refused.Problem, Err: err}
		}
	}
	return translated(err)
}

// flagOf returns the flag of a field that package redirect can refuse. Package options has
// refused all other wrong values already.
func flagOf(field string) (flag string, ok bool) {
	switch field {
	case "Netns":
		return options.FlagNetns, true
	case "Backend":
		return options.FlagIptables, true
	case "Shoot":
		return options.FlagShootPodCIDR, true
	case "ProxyUID":
		return options.FlagProxyUID, true
	case "ExcludeUIDs":
		return options.FlagExcludeUID, true
	default:
		return "", false
	}
}
