// SPDX-License-Identifier: Apache-2.0

package options

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
)

// The limits of --interval.
const (
	defaultInterval = time.Second
	minInterval     = 100 * time.Millisecond
	maxInterval     = time.Hour
)

// DumpConfig is what dump is asked for beside the rules and connections, validated.
type DumpConfig struct {
	// Explain asks for all rules in words.
	Explain bool
	// To is the destination of the connection to follow. It is invalid if none was given.
	To netip.AddrPort
	// From is the connection's source, with port 0 if none was given. It is invalid if the
	// kernel chooses it.
	From netip.AddrPort
	// Device is that to which the connection's socket is bound, or "".
	Device string
	// UID is the connection's user; nil is a user that no rule names.
	UID *uint32
	// UDP is set for a UDP datagram.
	UDP bool
	// Interval is the time between two outputs of --watch, 0 without --watch.
	Interval time.Duration
}

func (o *InitRedirect) dumpFlags() []flagset.Flag {
	return []flagset.Flag{
		flagset.Text("output", &o.Output, "`format` of the dump: table for people, json for programs"),
		flagset.Switch("explain", &o.Explain, "say in words what each rule does, ours and those of other programs, and what is wrong"),
		flagset.Filled("to", &o.To, "say what would become of a connection to this `address:port`, rule by rule; nothing is sent"),
		flagset.Filled("from", &o.From, "`source` of that connection: an address with or without port (one of this pod's, or one outside), or a device of this pod"),
		flagset.Filled("uid", &o.UID, "`uid` of the app that makes that connection; its gid is taken to be the same (default a uid that no rule names)"),
		flagset.Switch("udp", &o.UDP, "that connection is a UDP datagram"),
		flagset.Switch("watch", &o.Watch, "show the rates of each rule and new redirected connections until interrupted"),
		flagset.Duration("interval", &o.Interval, "`time` between two outputs of --watch, at least 100ms"),
	}
}

// dumpConfig validates the flags of dump.
func (o *InitRedirect) dumpConfig() (DumpConfig, error) {
	cfg := DumpConfig{Explain: o.Explain, UDP: o.UDP}
	if o.To == "" {
		for _, one := range []struct{ flag, value string }{{"--from", o.From}, {"--uid", o.UID}, {"--udp", onlyTrue(o.UDP)}} {
			if one.value != "" {
				return cfg, &flagset.UsageError{Flag: one.flag, Value: one.value, Problem: "is about a connection that --to names: give --to too, such as --to 100.64.3.7:9100"}
			}
		}
	}
	var err error
	if cfg.To, err = o.to(); err != nil {
		return cfg, err
	}
	if cfg.From, cfg.Device, err = o.from(cfg.To); err != nil {
		return cfg, err
	}
	if o.UID != "" {
		uid, err := strconv.ParseUint(o.UID, 10, 32)
		if err != nil || uid > maxUID {
			return cfg, &flagset.UsageError{Flag: "--uid", Value: o.UID, Problem: fmt.Sprintf("is not a uid: write a number from 0 to %d", maxUID)}
		}
		number := uint32(uid)
		cfg.UID = &number
	}
	cfg.Interval, err = o.interval()
	return cfg, err
}

// onlyTrue returns a switch as text, or "".
func onlyTrue(set bool) string {
	if set {
		return "true"
	}
	return ""
}

// to validates --to.
func (o *InitRedirect) to() (netip.AddrPort, error) {
	if o.To == "" {
		return netip.AddrPort{}, nil
	}
	refuse := func(problem string) (netip.AddrPort, error) {
		return netip.AddrPort{}, &flagset.UsageError{Flag: "--to", Value: o.To, Problem: problem}
	}
	if o.Watch {
		return refuse("follows one connection, and --watch shows rates: give one of the two")
	}
	to, err := netip.ParseAddrPort(o.To)
	if err != nil {
		return refuse("is not an IP address and a port: write them as 100.64.3.7:9100 or [fd00::7]:9100, with a port from 1 to 65535 and without a scheme; a name has to be looked up first")
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if to.Port() == 0 {
		return refuse("has port 0, to which no program can connect: ports go from 1 to 65535")
	}
	if to.Addr().Zone() != "" || to.Addr().IsUnspecified() {
		return refuse("is not an address of a single host: write one such as 100.64.3.7:9100")
	}
	return to, nil
}

// from validates --from: an address, an address and a port, or a device.
func (o *InitRedirect) from(to netip.AddrPort) (from netip.AddrPort, device string, err error) {
	text := o.From
	if text == "" {
		return from, "", nil
	}
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		from = netip.AddrPortFrom(a.Unmap(), 0)
	} else if at, err := netip.ParseAddrPort(text); err == nil {
		from = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	} else if isDevice(text) {
		return from, text, nil
	} else {
		return from, "", &flagset.UsageError{Flag: "--from", Value: text, Problem: "is neither an IP address, with or without port, nor a device: write one such as 10.0.0.5, 10.0.0.5:40000 or eth0"}
	}
	if from.Addr().Zone() != "" || from.Addr().IsUnspecified() {
		return from, "", &flagset.UsageError{Flag: "--from", Value: text, Problem: "is not an address of a single host: write one such as 10.0.0.5"}
	}
	if from.Addr().Is4() != to.Addr().Is4() {
		return from, "", &flagset.UsageError{Flag: "--from", Value: text, Problem: fmt.Sprintf("and --to %s are not of the same IP family: give two IPv4 addresses or two IPv6 addresses", o.To)}
	}
	return from, "", nil
}

// isDevice reports whether a text can be the name of a network device
// (dev_valid_name of net/core/dev.c).
func isDevice(text string) bool {
	return len(text) < 16 && text != "." && text != ".." && !strings.ContainsAny(text, "/: \t\n[]")
}

// interval validates --interval. It is 0 without --watch.
func (o *InitRedirect) interval() (time.Duration, error) {
	refuse := func(problem string) (time.Duration, error) {
		return 0, &flagset.UsageError{Flag: "--interval", Value: o.Interval.String(), Problem: problem}
	}
	switch {
	case !o.Watch && o.Interval != defaultInterval:
		return refuse("is the time between two outputs of --watch: give --watch too")
	case !o.Watch:
		return 0, nil
	case o.Interval < minInterval || o.Interval > maxInterval:
		return refuse("is not from 100ms to 1h: reading the rules takes some milliseconds of the CPU each time")
	default:
		return o.Interval, nil
	}
}
