// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"

	"github.com/shoot-proxy/proxy-client/pkg/redirect"
)

// settings returns what the plugin redirects, and where to. A real plugin reads it from
// its network configuration.
func settings() redirect.Config {
	return redirect.Config{
		Shoot:     []netip.Prefix{netip.MustParsePrefix("100.64.0.0/12")},
		ProxyPort: 14001,
		ProxyUID:  14001,
	}
}

// errNoNamespace is the error of a call without a namespace. With an empty Options.Netns
// the plugin would redirect the node itself.
var errNoNamespace = errors.New("CNI_NETNS is empty")

// options returns the options for a pod. netns is the file of its network namespace.
func options(netns string) (redirect.Options, error) {
	if netns == "" {
		return redirect.Options{}, errNoNamespace
	}
	return redirect.Options{Netns: netns, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}, nil
}

// add is the command ADD. It may run again for a pod that has the rules.
func add(ctx context.Context, netns string) error {
	opt, err := options(netns)
	if err != nil {
		return err
	}
	_, err = redirect.ApplyAndVerify(ctx, settings(), opt)
	return err
}

// check is the command CHECK. It changes nothing.
func check(ctx context.Context, netns string) error {
	opt, err := options(netns)
	if err != nil {
		return err
	}
	return redirect.Verify(ctx, settings(), opt)
}

// del is the command DEL. The rules of a namespace that is gone are gone too.
func del(ctx context.Context, netns string) error {
	if _, err := os.Stat(netns); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	opt, err := options(netns)
	if err != nil {
		return err
	}
	_, err = redirect.Clean(ctx, opt, redirect.CleanOptions{})
	return err
}

// errorCode returns the code that the CNI specification asks for beside a message.
// Plugins choose those from 100 on themselves.
func errorCode(err error) int {
	if errors.Is(err, errNoNamespace) {
		return 4 // an environment variable is invalid
	}
	if _, ok := errors.AsType[*redirect.ConfigError](err); ok {
		return 7 // the network configuration is invalid
	}
	if _, ok := errors.AsType[*redirect.CollisionError](err); ok {
		return 100 // the pod itself has an address in a shoot CIDR
	}
	if _, ok := errors.AsType[*redirect.KernelError](err); ok {
		return 101 // the node lacks a permission, a program or a kernel module
	}
	return 102 // the rules are not as they should be
}

// A CNI plugin redirects each pod that the container runtime hands to it, without a
// container that needs NET_ADMIN in the pod. It runs on the node as root, with
// iptables in its PATH.
func Example_plugin() {
	ctx, netns := context.Background(), os.Getenv("CNI_NETNS")
	command, known := map[string]func(context.Context, string) error{"ADD": add, "CHECK": check, "DEL": del}[os.Getenv("CNI_COMMAND")]
	if !known {
		return // a real plugin answers VERSION, STATUS and GC too
	}
	if err := command(ctx, netns); err != nil {
		_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"cniVersion": "1.1.0", "code": errorCode(err), "msg": err.Error()})
	}
}
