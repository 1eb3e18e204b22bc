// SPDX-License-Identifier: Apache-2.0

package flagset

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// services returns the variables that a container gets about three Services: proxy-client,
// with one port, proxy-client-webhook, with two that have names, and
// init-redirect-proxy, whose port has the name of a flag's variable.
func services() Variables {
	return Variables{
		"KUBERNETES_SERVICE_HOST=10.0.0.1",
		"PROXY_CLIENT_SERVICE_HOST=10.0.0.7",
		"PROXY_CLIENT_SERVICE_PORT=14001",
		"PROXY_CLIENT_PORT=tcp://10.0.0.7:14001",
		"PROXY_CLIENT_PORT_14001_TCP=tcp://10.0.0.7:14001",
		"PROXY_CLIENT_PORT_14001_TCP_PROTO=tcp",
		"PROXY_CLIENT_PORT_14001_TCP_PORT=14001",
		"PROXY_CLIENT_PORT_14001_TCP_ADDR=10.0.0.7",
		"PROXY_CLIENT_WEBHOOK_SERVICE_HOST=10.0.0.8",
		"PROXY_CLIENT_WEBHOOK_SERVICE_PORT=443",
		"PROXY_CLIENT_WEBHOOK_SERVICE_PORT_HTTPS=443",
		"PROXY_CLIENT_WEBHOOK_SERVICE_PORT_DNS_UDP=53",
		"PROXY_CLIENT_WEBHOOK_PORT=tcp://10.0.0.8:443",
		"PROXY_CLIENT_WEBHOOK_PORT_53_UDP=udp://10.0.0.8:53",
		"INIT_REDIRECT_PROXY_SERVICE_HOST=10.0.0.9",
		"INIT_REDIRECT_PROXY_SERVICE_PORT=80",
		"INIT_REDIRECT_PROXY_PORT=tcp://10.0.0.9:80",
	}
}

func TestCheckVariables(t *testing.T) {
	flags := []string{"mode", "dial-timeout", "listen-address", "timeout"}
	for _, tt := range []struct {
		name      string
		variables Variables
		want      string // the error, empty for none
	}{
		{"nothing", nil, ""},
		{"those of flags", Variables{"PROXY_CLIENT_MODE=grpc", "PROXY_CLIENT_DIAL_TIMEOUT=3s", "PATH=/bin"}, ""},
		{"a typing error", Variables{"PROXY_CLIENT_MODE=grpc", "PROXY_CLIENT_DIAL_TIMOUT=3s"}, "PROXY_CLIENT_DIAL_TIMOUT is not a variable of proxy-client: did you mean PROXY_CLIENT_DIAL_TIMEOUT?"},
		{"like nothing", Variables{"PROXY_CLIENT_VERSION=3"}, "PROXY_CLIENT_VERSION is not a variable of proxy-client: each is named after a flag, and 'proxy-client --help' shows those"},
		{"empty", Variables{"PROXY_CLIENT_DIAL_TIMOUT="}, ""},
		{"the prefix alone", Variables{"PROXY_CLIENT=1", "PROXY_CLIENTS=2"}, ""},
		{"another program's", Variables{"INIT_REDIRECT_PROXI_PORT=1"}, ""},
		{"of Services", services(), ""},
		{"a typing error beside Services", append(services(), "PROXY_CLIENT_LISTEN_ADRESS=[::1]:1"), "PROXY_CLIENT_LISTEN_ADRESS is not a variable of proxy-client: did you mean PROXY_CLIENT_LISTEN_ADDRESS?"},
		{"a port that is no Service's", append(services(), "PROXY_CLIENT_LISTEN_PORT=1"), "PROXY_CLIENT_LISTEN_PORT is not a variable of proxy-client: each is named after a flag, and 'proxy-client --help' shows those"},
		{"not the kubelet's words", append(services(), "PROXY_CLIENT_PORTS=1"), "PROXY_CLIENT_PORTS is not a variable of proxy-client: each is named after a flag, and 'proxy-client --help' shows those"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckVariables("proxy-client", "proxy-client", "PROXY_CLIENT", flags, tt.variables)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != tt.want || !IsUsage(err)) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// TestServicesSetNoFlags: the variable of a Service whose name begins like a flag's is
// ignored. A value that a person gives in the same variable is used.
func TestServicesSetNoFlags(t *testing.T) {
	redirect := func() (*pflag.FlagSet, *int64) {
		port := int64(14001)
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		Add(fs, []Flag{Number("proxy-port", &port, "")})
		return fs, &port
	}
	for value, want := range map[string]int64{"tcp://10.0.0.9:80": 14001, "14002": 14002} {
		fs, port := redirect()
		variables := append(Variables{"INIT_REDIRECT_PROXY_PORT=" + value}, services()...)
		if err := ApplyEnvironment(fs, "INIT_REDIRECT", variables.Lookup); err != nil || *port != want {
			t.Errorf("INIT_REDIRECT_PROXY_PORT=%s: got port %d, error %v; want %d", value, *port, err, want)
		}
	}
	fs, _ := redirect()
	alone := Variables{"INIT_REDIRECT_PROXY_PORT=tcp://10.0.0.9:80"} // without a Service it is a mistake
	if err := ApplyEnvironment(fs, "INIT_REDIRECT", alone.Lookup); err == nil || !strings.Contains(err.Error(), "INIT_REDIRECT_PROXY_PORT") {
		t.Errorf("got error %v, want one that names the variable", err)
	}
}
