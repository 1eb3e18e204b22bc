// SPDX-License-Identifier: Apache-2.0

package options

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
)

// InitRedirect are the flags of init-redirect as they were given, validated by
// Config. Make one with [NewInitRedirect]: the zero value has no defaults.
type InitRedirect struct {
	Shared
	// ProxyPort is --proxy-port, where proxy-client listens, 1 to 65535.
	ProxyPort int64
	// ProxyUID is --proxy-uid, the uid that proxy-client runs as.
	ProxyUID int64
	// ExcludePort is --exclude-port, destination ports that are not redirected, and
	// ranges of them.
	ExcludePort []string
	// ExcludeUID is --exclude-uid, users whose connections are not redirected.
	ExcludeUID []string
	// Iptables is --iptables: auto, nft or legacy.
	Iptables string
	// Netns is --netns, the path of a network namespace, empty for our own.
	Netns string
	// Output is --output of the dump command, table or json. The other
	// commands do not have this flag and those below, see [InitRedirect.AddDumpFlags].
	Output string
	// Explain is --explain: say in words what each rule does.
	Explain bool
	// To is --to, the connection that dump follows: an address and a port.
	To string
	// From is --from: the connection's source, or the device to which its socket is bound.
	From string
	// UID is --uid, the user that makes the connection.
	UID string
	// UDP is --udp: follow a UDP datagram.
	UDP bool
	// Watch is --watch: show rates until interrupted.
	Watch bool
	// Interval is --interval, the time between two outputs of Watch.
	Interval time.Duration
}

// NewInitRedirect returns init-redirect's flags at their defaults.
func NewInitRedirect() *InitRedirect {
	return &InitRedirect{
		Shared:    defaultShared(),
		ProxyPort: defaults.ProxyPort,
		ProxyUID:  defaults.ProxyUID,
		Iptables:  BackendAuto,
		Output:    OutputTable,
		Interval:  defaultInterval,
	}
}

func (o *InitRedirect) flags() []flagset.Flag {
	return append(o.Shared.flags(), []flagset.Flag{
		flagset.Number("proxy-port", &o.ProxyPort, "`port` on loopback where proxy-client listens, 1 to 65535"),
		flagset.Number("proxy-uid", &o.ProxyUID, "`uid` that proxy-client runs as, and nothing else in the pod; its connections are never redirected"),
		flagset.List("exclude-port", &o.ExcludePort, "destination `ports` that are left alone, such as 22,9443,30000-32767; comma-separated or repeated"),
		flagset.List("exclude-uid", &o.ExcludeUID, "`uids` whose connections are left alone, such as 1337; comma-separated or repeated"),
		flagset.Text("iptables", &o.Iptables, "`backend` of the rules: nft, legacy, or auto for the one in use"),
		flagset.Filled("netns", &o.Netns, "`path` of the network namespace to work in, such as /run/netns/pod or /proc/1234/ns/net (default our own)"),
	}...)
}

// AddFlags registers the flags that all commands share on fs, and sets o to
// the defaults.
func (o *InitRedirect) AddFlags(fs *pflag.FlagSet) {
	*o = *NewInitRedirect()
	flagset.Add(fs, o.flags())
}

// AddDumpFlags registers the flags that only the dump command has.
func (o *InitRedirect) AddDumpFlags(fs *pflag.FlagSet) {
	o.Output, o.Interval = OutputTable, defaultInterval
	flagset.Add(fs, o.dumpFlags())
}

// Args returns the command line for o: each flag that is not at its default, as
// --flag=value, in a fixed order. Parsing it gives o again, unless an element of a list
// contains a comma. It has flags of dump only if these are not at their defaults; no other
// command accepts them.
func (o *InitRedirect) Args() []string {
	defaults := NewInitRedirect()
	return append(flagset.Args(o.flags(), defaults.flags()), flagset.Args(o.dumpFlags(), defaults.dumpFlags())...)
}

// The iptables backends.
const (
	// BackendAuto is legacy if that has nat rules already, else nft.
	BackendAuto = "auto"
	// BackendNFT is iptables-nft.
	BackendNFT = "nft"
	// BackendLegacy is iptables-legacy.
	BackendLegacy = "legacy"
)

// The outputs of dump.
const (
	// OutputTable is a table for people.
	OutputTable = "table"
	// OutputJSON is JSON for programs.
	OutputJSON = "json"
)

// InitRedirectConfig is what init-redirect needs to run, validated.
type InitRedirectConfig struct {
	// CIDRs are the destinations to redirect. It is nil only from ConfigWithoutCIDRs, if
	// no shoot CIDR was given.
	CIDRs *cidr.Set
	// ProxyPort is the port that redirected connections go to.
	ProxyPort uint16
	// ProxyUID is the uid whose connections are never redirected.
	ProxyUID uint32
	// ExcludePorts are destination ports that are not redirected, sorted and unique.
	ExcludePorts []uint16
	// ExcludeUIDs are users whose connections are not redirected, sorted and unique.
	ExcludeUIDs []uint32
	// Backend is auto, nft or legacy.
	Backend string
	// Netns is the absolute path of a network namespace, empty for our own.
	Netns string
	// Output is table or json.
	Output string
	// Dump is what else dump is asked for.
	Dump DumpConfig
	// Log says how to log.
	Log Log
}
