// SPDX-License-Identifier: Apache-2.0

package target

import (
	"net"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct{ text, wrong, addr string }{
		{"", "has no port", ""},
		{"10.250.0.4", "has no port", ""},
		{"fd00:10::4", "write it like [fd00:10::4]:10250", ""},
		{"[fd00:10::4]", "write it like [fd00:10::4]:10250", ""},
		{":80", "has no host", ""},
		{"10.250.0.4:", "has no port from 1 to 65535", ""},
		{"10.250.0.4:0", "has no port from 1 to 65535", ""},
		{"10.250.0.4:70000", "has no port from 1 to 65535", ""},
		{"10.250.0.4:http", "has no port from 1 to 65535", ""},
		{"https://10.250.0.4:443", "without a scheme", ""},
		{"10.250.0.0/16:443", "without a scheme", ""},
		{"[fe80::1%eth0]:80", "has a zone", ""},
		{"0.0.0.0:80", "no address of a host", ""},
		{"224.0.0.1:80", "no address of a host", ""},
		{"10.250.0.300:80", "neither an address nor a name", ""},
		{"a b:80", "neither an address nor a name", ""},
		{"10.250.0.4:10250", "", "10.250.0.4"},
		{"[::ffff:10.250.0.4]:10250", "", "10.250.0.4"},
		{"[fd00:10::4]:10250", "", "fd00:10::4"},
		{"kubernetes.default.svc:443", "", "invalid IP"},
	} {
		got, err := Parse(tc.text)
		switch {
		case tc.wrong == "" && err != nil:
			t.Errorf("%q is refused: %v", tc.text, err)
		case tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)):
			t.Errorf("%q: got %v, want words %q", tc.text, err, tc.wrong)
		case tc.wrong == "" && (got.Addr.String() != tc.addr || got.Text != tc.text || got.Port == 0):
			t.Errorf("%q was read as %+v", tc.text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"10.250.0.4:10250", "[fd00::1]:80", "a.b:1", ":", "[::]:80"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		target, err := Parse(text)
		if err != nil {
			return
		}
		if target.Port == 0 || target.Host == "" || target.Addr.IsValid() && (target.Addr.Zone() != "" || target.Addr.Is4In6()) {
			t.Errorf("%q was read as %+v", text, target)
		}
		if host, _, err := net.SplitHostPort(text); err != nil || host != target.Host {
			t.Errorf("%q was read as host %q", text, target.Host)
		}
	})
}
