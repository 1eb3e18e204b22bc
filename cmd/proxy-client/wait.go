// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/options"
)

// checkInterval is the time between two requests of wait.
const checkInterval = 50 * time.Millisecond

// waitCommand returns the command that waits until the sidecar listens. It is for the
// post-start hook: kubelet starts the next container when the hook has ended.
func waitCommand(env environment) *cobra.Command {
	var address string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait",
		Short: "Return once proxy-client listens in this pod",
		Args:  commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := commandline.ApplyVariables(cmd, options.ProxyClientPrefix, env.variables); err != nil {
				return err
			}
			if timeout <= 0 {
				return flagset.NameVariable(cmd.Flags(), &flagset.UsageError{Flag: "--timeout", Value: timeout.String(), Problem: "is not positive: write a duration such as 60s"})
			}
			urls, err := livenessURLs(address)
			if err != nil {
				return flagset.NameVariable(cmd.Flags(), err)
			}
			return await(env.signals, address, urls, timeout)
		},
	}
	cmd.Flags().StringVar(&address, "health-address", options.NewProxyClient().HealthAddress, "proxy-client's --health-`address`: host:port, or :port")
	cmd.Flags().DurationVar(&timeout, "timeout", 60*time.Second, "how long to wait, a `duration`")
	return cmd
}

// livenessURLs returns the URLs to ask. An address for all interfaces can be reached on
// loopback, by one family or both.
func livenessURLs(address string) ([]string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return nil, &flagset.UsageError{Flag: options.FlagHealthAddress, Value: address, Problem: "is no address: write host:port, or " + options.NewProxyClient().HealthAddress, Err: err}
	}
	hosts := []string{host}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		hosts = []string{"127.0.0.1", "::1"}
	}
	var urls []string
	for _, h := range hosts {
		urls = append(urls, "http://"+net.JoinHostPort(h, port)+"/livez")
	}
	return urls, nil
}

// await asks urls until one of them says that proxy-client is alive. They are of address,
// the value of --health-address.
func await(signals <-chan os.Signal, address string, urls []string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	last := errors.New("no answer") // if none of the questions had time enough
	for {
		for _, url := range urls {
			err := ask(ctx, client, url)
			if err == nil {
				return nil
			}
			if ctx.Err() == nil {
				last = err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s %q: proxy-client is not alive there after %s (%w): its log says why, or it has another %s", options.FlagHealthAddress, address, timeout, last, options.FlagHealthAddress)
		case s := <-signals:
			return fmt.Errorf("ended by signal %s before proxy-client was alive", s)
		case <-ticker.C:
		}
	}
}

// ask returns nil if url answers with status 200.
func ask(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}
