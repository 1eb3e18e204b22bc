// SPDX-License-Identifier: Apache-2.0

// Package status has the JSON documents of the admin address of proxy-client. It has
// types and nothing else: the sidecar fills them in, and other programs read them.
//
//	GET /configuration  Configuration
//	GET /state          State
//	GET /servers        Servers
//	GET /connections    Connections
//	GET /failures       Failures
//	GET /history        History
//
// A time that is not known is left out. A list without elements is empty. Durations are
// numbers of seconds. A person can read every text.
package status

import "time"

// Configuration is what the sidecar was started with.
type Configuration struct {
	// Instance is random, and new with each start of the process.
	Instance string `json:"instance"`
	// Version is that of proxy-client.
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Settings has every flag of proxy-client, in the order of README.md.
	Settings []Setting `json:"settings"`
}

// The sources of a Setting.
const (
	SourceDefault     = "default"
	SourceFlag        = "flag"
	SourceEnvironment = "environment"
)

// Setting is the value of one flag, and where it comes from.
type Setting struct {
	// Flag has its dashes, such as --dial-timeout.
	Flag string `json:"flag"`
	// Values are the elements of a list, or one value. It is empty if nothing is set.
	Values []string `json:"values"`
	// Source is one of the constants above.
	Source string `json:"source"`
	// Variable is the environment variable, such as PROXY_CLIENT_DIAL_TIMEOUT. It is
	// empty unless Source is SourceEnvironment.
	Variable string `json:"variable,omitempty"`
	// Effective is the value in use if that is not in Values, and Why says why.
	Effective string `json:"effective,omitempty"`
	Why       string `json:"why,omitempty"`
}

// The phases of a sidecar.
const (
	PhaseStarting  = "starting"
	PhaseListening = "listening"
	PhaseDraining  = "draining"
	PhaseEnded     = "ended"
)

// State is the sidecar as a whole. It is small: the page asks for it once a second.
type State struct {
	Instance string    `json:"instance"`
	Now      time.Time `json:"now"`
	Started  time.Time `json:"started"`
	// Phase is one of the constants above.
	Phase string `json:"phase"`
	// Open are the connections that are served now, Dialling among them.
	Open int `json:"open"`
	// Dialling are the connections that wait for their tunnel.
	Dialling       int `json:"dialling"`
	MaxConnections int `json:"maxConnections"`
	MaxDials       int `json:"maxDials"`
	// HeldBytes are held for apps and targets now, and may be TotalBuffer at most.
	HeldBytes    int64         `json:"heldBytes"`
	TotalBuffer  int64         `json:"totalBuffer"`
	Redirect     []Redirect    `json:"redirect"`
	Certificates []Certificate `json:"certificates"`
	Servers      []Server      `json:"servers"`
	// Exits is left out if none is configured.
	Exits *Exits `json:"exits,omitempty"`
}

// Redirect is the last result of one probe of the redirect.
type Redirect struct {
	// Target is the address and port that was probed.
	Target string `json:"target"`
	// Family is IPv4 or IPv6.
	Family string `json:"family"`
	// CIDR is the shoot CIDR that was probed. It is empty for the probe of a family.
	CIDR string `json:"cidr,omitempty"`
	OK   bool   `json:"ok"`
	// Error says what happened, and Next what to do. Both are empty if OK.
	Error string `json:"error,omitempty"`
	Next  string `json:"next,omitempty"`
	// Checked is left out before the first probe.
	Checked time.Time `json:"checked,omitzero"`
}

// The roles of a Certificate.
const (
	RoleCA     = "ca"
	RoleClient = "client"
	RoleServer = "server"

	RoleExit       = "exit"
	RoleExitClient = "exit_client" // the client, to exits
	RoleExitCA     = "exit_ca"     // of exits
)

// MaxCertificates is how many certificates of the TLS files for servers a status has, and of
// those for exits. A bundle may have hundreds.
const MaxCertificates = 16

// Certificate is one in a file, or that of a server or an exit at its last handshake.
type Certificate struct {
	// Role is one of the constants above.
	Role string `json:"role"`
	// File is the path of a CA's or a client's certificate.
	File string `json:"file,omitempty"`
	// Server is the configured name, and Address the endpoint, of a server's certificate.
	Server  string `json:"server,omitempty"`
	Address string `json:"address,omitempty"`
	// Exit is the configured name, of an exit's certificate.
	Exit      string    `json:"exit,omitempty"`
	Subject   string    `json:"subject"`
	Names     []string  `json:"names"` // DNS names and IP addresses
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"notBefore,omitzero"`
	NotAfter  time.Time `json:"notAfter,omitzero"`
	// Due is set if the certificate should have been replaced by now.
	Due bool `json:"due,omitempty"`
	// Seen is when the handshake took place. It is left out for a file.
	Seen time.Time `json:"seen,omitzero"`
	// Problem says why the certificate is not accepted, or will soon not be. It is empty
	// if nothing is wrong yet.
	Problem string `json:"problem,omitempty"`
}

// Servers are the proxy-servers alone, which State has too.
type Servers struct {
	Instance string    `json:"instance"`
	Now      time.Time `json:"now"`
	Servers  []Server  `json:"servers"`
	// Exits is left out if none is configured.
	Exits *Exits `json:"exits,omitempty"`
}

// Exits are the configured exits, and what becomes of connections now.
type Exits struct {
	// Required says that connections fail while no exit answers. Otherwise they then go to
	// their targets without one.
	Required bool `json:"required"`
	// Answers reports whether new connections go through an exit.
	Answers bool   `json:"answers"`
	Exits   []Exit `json:"exits"`
}

// Exit is one configured exit.
type Exit struct {
	// Name is the exit as it was configured, and as agents dial it.
	Name string `json:"name"`
	// Up reports whether it takes new connections.
	Up bool `json:"up"`
	// Reason, Cause and Next are those of the last attempt to make a tunnel, if that failed.
	// Reason is a word of the metric proxy_client_exit_failures_total, Cause says what
	// happened, and Next what to do.
	Reason  string   `json:"reason,omitempty"`
	Cause   string   `json:"cause,omitempty"`
	Next    string   `json:"next,omitempty"`
	Tunnels []Tunnel `json:"tunnels"`
}

// Tunnel is one connection to an exit, which many connections share.
type Tunnel struct {
	// Server is the configured name of the proxy-server in between.
	Server string `json:"server"`
	// DialID is its id in the logs of proxy-server and agent. It is empty in http-connect
	// mode.
	DialID string    `json:"dialID,omitempty"`
	Opened time.Time `json:"opened"`
	// Ending reports that it takes no more connections, and goes on until those that it has
	// have ended.
	Ending bool `json:"ending"`
	// Load is the number of connections and dials. Limit is how many the exit allows; it is 0
	// if there is no limit.
	Load  int `json:"load"`
	Limit int `json:"limit"`
}

// Server is one configured proxy-server.
type Server struct {
	// Name is the server as it was configured.
	Name string `json:"name"`
	// Network is tcp or unix.
	Network string `json:"network"`
	// Address is host:port, or the path of a Unix socket.
	Address string `json:"address"`
	// Mode is the configured mode.
	Mode string `json:"mode"`
	// Speaks is the mode in use. It is empty while that is not known.
	Speaks string `json:"speaks,omitempty"`
	// Up reports whether an endpoint could be reached at the last attempt.
	Up bool `json:"up"`
	// Reason, Cause and Next are empty if Up. Reason is a word of the metric
	// proxy_client_dial_failures_total, Cause says what happened, and Next what to do.
	Reason    string     `json:"reason,omitempty"`
	Cause     string     `json:"cause,omitempty"`
	Next      string     `json:"next,omitempty"`
	Endpoints []Endpoint `json:"endpoints"`
}

// The states of an Endpoint, in the order in which dials try them.
const (
	EndpointGood        = "good"
	EndpointSuspect     = "suspect"     // dials wait for it, and none was answered for a while
	EndpointAside       = "aside"       // it did not serve dials
	EndpointUnreachable = "unreachable" // it could not be connected to
)

// Endpoint is one address of a server.
type Endpoint struct {
	Address string `json:"address"`
	// State is one of the constants above.
	State string `json:"state"`
	Up    bool   `json:"up"`
	// Load is the number of connections and dials.
	Load int `json:"load"`
	// Failures is how often in succession its back-off has grown.
	Failures int `json:"failures"`
	// Until is the end of its back-off. It is left out if there is none.
	Until time.Time `json:"until,omitzero"`
	// Reason, Error and Next are those of its last failure. They are empty if it is good or
	// suspect.
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	Next   string `json:"next,omitempty"`
	// UpSince is when it came up. It is left out while it is not up.
	UpSince time.Time `json:"upSince,omitzero"`
	// Answered is when a dial through it was last answered: by a tunnel, or by what the
	// agent said about the target. It is left out before the first.
	Answered time.Time `json:"answered,omitzero"`
	// DialSeconds is a moving average of successful dials. It is 0 before the first.
	DialSeconds float64 `json:"dialSeconds"`
}

// Connections are those that are served now.
type Connections struct {
	Instance    string       `json:"instance"`
	Now         time.Time    `json:"now"`
	Connections []Connection `json:"connections"`
}

// The states of a Connection.
const (
	ConnectionDialling = "dialling"
	ConnectionOpen     = "open"
)

// Connection is one redirected connection. A reader computes its rates from two answers.
type Connection struct {
	// ID is unique in an instance.
	ID uint64 `json:"id"`
	// Source is the app's address and port, and Destination the target's.
	Source      string `json:"source"`
	Destination string `json:"destination"`
	// Server is the configured name of the proxy-server. It is empty while dialling.
	Server string `json:"server,omitempty"`
	// Exit is the configured name of the exit. It is empty without one.
	Exit string `json:"exit,omitempty"`
	// DialID is the id of the dial in the logs of proxy-client, proxy-server and agent. It
	// is empty in http-connect mode. With an exit it is that of the tunnel.
	DialID string `json:"dialID,omitempty"`
	// ConnectionID is what proxy-server and agent call connectionID in their logs.
	ConnectionID string `json:"connectionID,omitempty"`
	// State is one of the constants above.
	State         string    `json:"state"`
	Accepted      time.Time `json:"accepted"`
	DialSeconds   float64   `json:"dialSeconds"`
	SentBytes     int64     `json:"sentBytes"`     // to the target
	ReceivedBytes int64     `json:"receivedBytes"` // from the target
	HeldBytes     int64     `json:"heldBytes"`     // that the app has not read
	// IdleSeconds is the time since a byte last moved.
	IdleSeconds float64 `json:"idleSeconds"`
}

// Failures are the last connections that were not made, or that were reset later by
// neither app nor target. The newest is the first.
type Failures struct {
	Instance string    `json:"instance"`
	Now      time.Time `json:"now"`
	Failures []Failure `json:"failures"`
}

// The kinds of a Failure.
const (
	FailureNotMade = "not_made" // Reason is one of proxy_client_dial_failures_total
	FailureBroken  = "broken"   // Reason is one of proxy_client_close_total
)

// The faults of a Failure.
const (
	FaultServer  = "server"  // the proxy-server, its agent, or the way to them
	FaultTarget  = "target"  // the target, or the app
	FaultSidecar = "sidecar" // a lack of the sidecar, such as local ports
)

// Failure is what happened to connections with the same destination and reason. The
// fields without a number are those of the last one.
type Failure struct {
	// Kind is one of the constants above.
	Kind string `json:"kind"`
	// First and Time are those of the first and the last of them.
	First time.Time `json:"first"`
	Time  time.Time `json:"time"`
	// DialSeconds is how long its dial took.
	DialSeconds float64 `json:"dialSeconds"`
	Source      string  `json:"source"`
	Destination string  `json:"destination,omitempty"`
	Server      string  `json:"server,omitempty"`
	DialID      string  `json:"dialID,omitempty"`
	Reason      string  `json:"reason"`
	// Fault says where the cause is. It is one of the constants above, or empty if no server
	// was asked.
	Fault string `json:"fault,omitempty"`
	Error string `json:"error"`
	// Cure says what to do: as README.md does for the reason, or more exactly.
	Cure  string `json:"cure"`
	Times int    `json:"times"`
}

// History is the last 15 minutes.
type History struct {
	Instance        string    `json:"instance"`
	Now             time.Time `json:"now"`
	IntervalSeconds float64   `json:"intervalSeconds"`
	// Points are in the order of time.
	Points []Point `json:"points"`
}

// Point is one interval of a History.
type Point struct {
	// Time is the end of the interval.
	Time time.Time `json:"time"`
	// SentBytes and ReceivedBytes are per second.
	SentBytes     float64 `json:"sentBytes"`
	ReceivedBytes float64 `json:"receivedBytes"`
	// Dials are those that succeeded. Failed are the connections that were not made, without
	// those that their apps gave up.
	Dials  int `json:"dials"`
	Failed int `json:"failed"`
	// DialP50 and DialP99 are seconds. They are 0 without dials.
	DialP50 float64 `json:"dialP50"`
	DialP99 float64 `json:"dialP99"`
	// HeldBytes and Open are those at Time.
	HeldBytes int64 `json:"heldBytes"`
	Open      int   `json:"open"`
}
