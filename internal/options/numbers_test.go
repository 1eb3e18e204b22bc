// SPDX-License-Identifier: Apache-2.0

package options

import "strings"

// badNumbers are mistakes in flags of one value: numbers, durations, sizes and
// words, flags that do not exist, and variables.
func badNumbers() []badCase {
	return []badCase{
		initial("proxy port 0", pods, "--proxy-port=0"),
		initial("proxy port 70000", pods, "--proxy-port=70000"),
		initial("a negative proxy port", pods, "--proxy-port=-1"),
		initial("a named proxy port", pods, "--proxy-port=http"),
		initial("a proxy port of 30 digits", pods, "--proxy-port="+strings.Repeat("9", 30)),
		initial("proxy uid 0", pods, "--proxy-uid=0"),
		initial("the proxy uid of nobody", pods, "--proxy-uid=65534"),
		initial("the proxy uid of Istio", pods, "--proxy-uid=1337"),
		initial("the proxy uid of Linkerd", pods, "--proxy-uid=2102"),
		initial("a negative proxy uid", pods, "--proxy-uid=-1"),
		initial("a proxy uid that is none", pods, "--proxy-uid=4294967295"),
		initial("a named proxy uid", pods, "--proxy-uid=proxy"),
		initial("excluded port 0", pods, "--exclude-port=22,0"),
		initial("excluded port 70000", pods, "--exclude-port=70000"),
		initial("an excluded range", pods, "--exclude-port=1000-2000"),
		initial("the proxy port excluded", pods, "--proxy-port=15500", "--exclude-port=22,15500"),
		initial("an empty excluded port", pods, "--exclude-port=22,,23"),
		initial("a named excluded uid", pods, "--exclude-uid=root"),
		initial("an excluded uid that is none", pods, "--exclude-uid=4294967295"),
		initial("a backend that is none", pods, "--iptables=nftables"),
		initial("a relative namespace", pods, "--netns=pod"),
		initial("a namespace that is not there", pods, "--netns=/run/netns/gone-away"),
		initial("a folder for a namespace", pods, "--netns=/"),
		{name: "an output that is none", program: theDump, args: []string{"--output=yaml"}},
		initial("--output of apply", pods, "--output=json"),
		proxy("a bare number for a duration", pods, socket, "--dial-timeout=8"),
		proxy("no time to dial", pods, socket, "--dial-timeout=0"),
		proxy("a negative half-close", pods, socket, "--half-close-timeout=-1s"),
		proxy("a negative idle time", pods, socket, "--idle-timeout=-1m"),
		proxy("hardly any idle time", pods, socket, "--idle-timeout=500ms"),
		proxy("idle time in words", pods, socket, "--idle-timeout=off"),
		proxy("no time to drain", pods, socket, "--drain-timeout=0s"),
		proxy("no dials", pods, socket, "--max-dials=0"),
		proxy("negative dials", pods, socket, "--max-dials=-1"),
		proxy("more dials than can be meant", pods, socket, "--max-dials=1000001"),
		proxy("many dials", pods, socket, "--max-dials=many"),
		proxy("no connections", pods, socket, "--max-connections=0"),
		proxy("negative connections", pods, socket, "--max-connections=-5"),
		proxy("more connections than can be meant", pods, socket, "--max-connections=1000001"),
		proxy("connections in words", pods, socket, "--max-connections=unlimited"),
		proxy("connections left empty", pods, socket, "--max-connections="),
		proxy("no size", pods, socket, "--connection-buffer=16MB"),
		proxy("an enormous size", pods, socket, "--total-buffer=9999999999GiB"),
		proxy("a buffer for nothing", pods, socket, "--connection-buffer=64KiB"),
		proxy("less for all than for one", pods, socket, "--connection-buffer=32MiB", "--total-buffer=16MiB"),
		proxy("neither true nor false", pods, socket, "--accept-while-draining=maybe"),
		proxy("a log format that is none", pods, socket, "--log-format=logfmt"),
		proxy("a log level that is none", pods, socket, "--log-level=trace"),
		proxy("unknown flag", pods, socket, "--frobnicate=1"),
		initial("unknown flag", pods, "--listen-address=127.0.0.1:14001"),
		{name: "unknown flag of a subcommand", program: theDump, args: []string{"--color"}},
		proxy("unknown short flag", pods, socket, "-xyz"),
		proxy("a flag of a later issue", pods, socket, "--admin-address=127.0.0.1:14000"),
		proxy("a flag without its value", pods, "--proxy-server"),
		proxy("a flag that is none", pods, "--=x"),
		{
			name: "a bad duration in the environment", program: theProxy, args: []string{pods, socket},
			environment: map[string]string{"PROXY_CLIENT_DIAL_TIMEOUT": "soon"},
		},
		{
			name: "bad CIDRs in the environment", program: theInit,
			environment: map[string]string{"INIT_REDIRECT_SHOOT_POD_CIDR": "100.64.0.0/12,10.0.0.1/8"},
		},
		{
			name: "a bad uid in the environment", program: theInit, args: []string{pods},
			environment: map[string]string{"INIT_REDIRECT_PROXY_UID": "0"},
		},
	}
}
