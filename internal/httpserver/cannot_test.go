// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestCannotListen: the sentence has the flag, its value, the cause, and what to do about it.
func TestCannotListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	failed := func(errno syscall.Errno) error {
		return &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", errno)}
	}
	real := func(address string) error {
		l, err := net.Listen("tcp", address)
		if err == nil {
			l.Close()
			t.Fatalf("%s could be listened on", address)
		}
		return err
	}
	for _, tt := range []struct {
		name, address string
		err           error
		want          string
	}{
		{"taken", taken.Addr().String(), real(taken.Addr().String()), "address already in use: end the process that has the port, or choose another port"},
		{"not of this machine", "192.0.2.99:1", real("192.0.2.99:1"), "cannot assign requested address: no device here has this address: write one that this pod has, or leave the host out for all of them"},
		{"a family that is off", "[::1]:1", failed(syscall.EAFNOSUPPORT), "address family not supported by protocol: the kernel lacks this IP family: write an address of the other one"},
		{"privileged", "127.0.0.1:1", failed(syscall.EACCES), "permission denied: ports below 1024 are for privileged processes: choose another port"},
		{"a name that is none", "x.invalid:1", &net.OpError{Op: "listen", Err: &net.DNSError{Err: "no such host", Name: "x.invalid"}}, "look up x.invalid: no such host: write an address of this pod, or leave the host out for all of them"},
		{"anything else", "127.0.0.1:1", errors.New("admin: no luck"), "admin: no luck: choose another address"},
	} {
		got := CannotListen("--health-address", tt.address, tt.err).Error()
		if want := `--health-address "` + tt.address + `" cannot be listened on: ` + tt.want; got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, want)
		}
	}
	if err := CannotListen("--x", "y", failed(syscall.EADDRINUSE)); !errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), "bind") {
		t.Errorf("got %v", err)
	}
}
