// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/shoot-proxy/proxy-client/internal/defaults"
)

// Mode is the frontend protocol of the upstream server, spelled as its --mode
// flag and as proxy-client's.
type Mode string

// The two frontends that an upstream server offers; each server has one.
const (
	GRPC        Mode = "grpc"
	HTTPConnect Mode = "http-connect"
)

// Transport is how the sidecar reaches the upstream server.
type Transport string

// A TCP frontend is behind mutual TLS, a Unix socket speaks plain text.
const (
	TCP  Transport = "tcp"
	Unix Transport = "unix"
)

// Families is a set of IP families.
type Families uint8

// The families, and both of them.
const (
	IPv4 Families = 1 << iota
	IPv6
	DualStack = IPv4 | IPv6
)

// Has reports whether f contains all of g.
func (f Families) Has(g Families) bool { return f&g == g }

// Each returns the single families in f, IPv4 first.
func (f Families) Each() []Families {
	var all []Families
	for _, one := range []Families{IPv4, IPv6} {
		if f.Has(one) {
			all = append(all, one)
		}
	}
	return all
}

func (f Families) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	case DualStack:
		return "dual-stack"
	}
	return "no family"
}

// Numeric identities inside the lab. They need no entry in /etc/passwd.
const (
	// ProxyUID is the product's default --proxy-uid, under which the sidecar runs.
	ProxyUID = defaults.ProxyUID
	// AppUID is the uid of the unmodified clients.
	AppUID = 20001
)

// Options describe the lab to build. The zero value is a dual-stack pod and a gRPC server
// behind mTLS.
type Options struct {
	// Mode is the server's frontend; GRPC if empty.
	Mode Mode
	// Transport is the way to the server; TCP if empty.
	Transport Transport
	// PodFamilies are the families for which the pod has an address and a default route;
	// DualStack if zero.
	PodFamilies Families
	// ShootFamilies are the families whose CIDRs the product gets; DualStack if zero. The
	// shoot itself always has both.
	ShootFamilies Families
	// Servers is how many upstream servers the seed has, at most [MaxServers]; 1 if zero.
	// Several have an address each, and a balancer is between them and the agents. The
	// agents dial the balancer until they are connected to all servers.
	Servers int
	// ServerFlags are further flags of each upstream server, for all of its starts. See
	// [Server].
	ServerFlags []string
	// Agents is how many agents the shoot has; 1 if zero.
	Agents int
	// AgentFlags are further flags of each of these agents.
	AgentFlags []string
	// AgentNames are names that the agents can resolve, in addition to ShootName. If set,
	// they can resolve no others.
	AgentNames map[string][]netip.Addr
	// Exits is how many exits the shoot has, at most [MaxExits]. A sidecar uses them only
	// with [Lab.ExitFlags].
	Exits int
	// ExitFlags are further flags of each exit. See [Exit].
	ExitFlags []string
	// Shared is a balancer that other labs share with this one. The lab has one server,
	// and its agents reach it through the balancer, by ShootName.
	Shared *SharedBalancer
	// ShootName is the shoot's DNS name behind the shared balancer. It is in the server's
	// certificates for clients and for agents.
	ShootName string
	// AgentRelay puts a relay of the lab's own before the agents, which can delay the
	// bytes of both directions: see [Lab.AgentDelay].
	AgentRelay bool
	// DisableIPv6 switches IPv6 off in the pod's kernel, as net.ipv6.conf.all.disable_ipv6 does.
	DisableIPv6 bool
	// Detached makes processes outlive this program, for a lab that a person keeps.
	Detached bool
	// Bin is the folder of init-redirect and proxy-client; see [FindBinaries] if empty.
	Bin string
	// TestBin is the folder of the upstream server and agent; see [FindBinaries] if
	// empty.
	TestBin string
}

func (o Options) withDefaults() (Options, error) {
	if o.Mode == "" {
		o.Mode = GRPC
	}
	if o.Transport == "" {
		o.Transport = TCP
	}
	if o.PodFamilies == 0 {
		o.PodFamilies = DualStack
	}
	if o.ShootFamilies == 0 {
		o.ShootFamilies = DualStack
	}
	o.Servers, o.Agents = max(o.Servers, 1), max(o.Agents, 1)
	if o.Servers > MaxServers {
		return o, fmt.Errorf("a lab has at most %d servers, not %d", MaxServers, o.Servers)
	}
	if o.Exits > MaxExits {
		return o, fmt.Errorf("a lab has at most %d exits, not %d", MaxExits, o.Exits)
	}
	bin, testBin, err := FindBinaries()
	if o.Bin == "" {
		o.Bin = bin
	}
	if o.TestBin == "" {
		o.TestBin = testBin
	}
	if o.Bin == "" || o.TestBin == "" {
		return o, err
	}
	if o.Shared != nil && (o.ShootName == "" || o.Servers != 1 || o.Transport != TCP || o.AgentRelay) {
		return o, errors.New("a lab behind a shared balancer has a ShootName, one server with a TCP port, and no AgentRelay")
	}
	for _, path := range []string{o.server(), o.agent()} {
		if _, err := os.Stat(path); err != nil {
			return o, fmt.Errorf("upstream binary is missing: %w; `make peers` makes it", err)
		}
	}
	return o, nil
}

// CheckProduct returns an error if init-redirect or proxy-client has not been built. The
// error says what to do. A lab starts without them.
func (o Options) CheckProduct() error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	for _, path := range []string{o.initRedirect(), o.proxyClient()} {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("product binary is missing: %w; `make build` makes it", err)
		}
	}
	return nil
}

func (o Options) server() string       { return filepath.Join(o.TestBin, "server") }
func (o Options) agent() string        { return filepath.Join(o.TestBin, "agent") }
func (o Options) proxyClient() string  { return filepath.Join(o.Bin, "proxy-client") }
func (o Options) initRedirect() string { return filepath.Join(o.Bin, "init-redirect") }

// FindBinaries returns the folder of the product's binaries and that of the upstream
// ones. They are LAB_BIN and LAB_TEST_BIN from the environment. Otherwise they are bin
// and test/bin of the repository that contains the working directory, or this program.
func FindBinaries() (bin, testBin string, err error) {
	bin, testBin = os.Getenv("LAB_BIN"), os.Getenv("LAB_TEST_BIN")
	if bin != "" && testBin != "" {
		return bin, testBin, nil
	}
	root, err := RepositoryRoot()
	if err != nil {
		return bin, testBin, err
	}
	if bin == "" {
		bin = filepath.Join(root, "bin")
	}
	if testBin == "" {
		testBin = filepath.Join(root, "test", "bin")
	}
	return bin, testBin, nil
}

// ReleaseFolder returns the folder of a release. It is LAB_DIST from the environment,
// which the Makefile sets to its DIST. Otherwise it is dist of the repository.
func ReleaseFolder() (string, error) {
	if folder := os.Getenv("LAB_DIST"); folder != "" {
		return folder, nil
	}
	root, err := RepositoryRoot()
	return filepath.Join(root, "dist"), err
}

// RepositoryRoot returns the folder of the repository that contains the working
// directory, or this program.
func RepositoryRoot() (string, error) {
	var starts []string
	if dir, err := os.Getwd(); err == nil {
		starts = append(starts, dir)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for ; ; dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "test", "upstream", "go.mod")); err == nil {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", errors.New("cannot find the repository: run inside it, or set LAB_BIN and LAB_TEST_BIN to the folders of the binaries")
}
