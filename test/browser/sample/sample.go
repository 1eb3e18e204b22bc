// SPDX-License-Identifier: Apache-2.0

// Package sample makes the documents of sidecars that do not run: for tests with thousands
// of connections, and for the pictures in the documents. The same moment always gives the
// same documents.
package sample

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/cure"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/statusserver"
)

// Sidecar is what is made up.
type Sidecar struct {
	// Instance tells the starts of the sidecar apart.
	Instance string
	Started  time.Time
	// Connections is how many are open.
	Connections int
	// Trouble is a sidecar with a server that is set aside, a certificate that expires and
	// targets that cannot be reached. Without it all is well.
	Trouble bool
}

// Documents returns the documents at the moments that now returns.
func (s Sidecar) Documents(now func() time.Time) statusserver.Documents {
	return statusserver.Documents{
		Instance:      s.Instance,
		Configuration: s.Configuration,
		State:         func() status.State { return s.State(now()) },
		Servers:       func() []status.Server { return s.servers(now()) },
		Connections:   func() iter.Seq[status.Connection] { return s.Each(now()) },
		Failures:      func() []status.Failure { return s.Failures(now()) },
		History:       func() status.History { return s.History(now()) },
	}
}

// Configuration returns some settings of each source.
func (s Sidecar) Configuration() status.Configuration {
	flag := func(name string, values ...string) status.Setting {
		return status.Setting{Flag: name, Values: values, Source: status.SourceFlag}
	}
	byDefault := func(name string, values ...string) status.Setting {
		return status.Setting{Flag: name, Values: values, Source: status.SourceDefault}
	}
	return status.Configuration{
		Instance: s.Instance, Version: "0.1.0", Started: s.Started,
		Settings: []status.Setting{
			flag("--shoot-pod-cidr", "100.64.0.0/12"),
			flag("--shoot-service-cidr", "100.104.0.0/13"),
			flag("--shoot-node-cidr", "10.250.0.0/16"),
			byDefault("--exclude-cidr"),
			flag("--log-format", "json"),
			{Flag: "--log-level", Values: []string{"info"}, Source: status.SourceEnvironment, Variable: "PROXY_CLIENT_LOG_LEVEL"},
			flag("--proxy-server", "vpn-proxy-server:8090", "vpn-proxy-server-b:8090"),
			byDefault("--mode", "auto"),
			flag("--ca-cert", "/certs/ca/ca.crt"),
			flag("--client-cert", "/certs/client/tls.crt"),
			flag("--client-key", "/certs/client/tls.key"),
			byDefault("--server-name"),
			byDefault("--dial-timeout", "8s"),
			byDefault("--max-dials", "256"),
			{Flag: "--max-connections", Source: status.SourceDefault, Effective: "11730", Why: "GOMEMLIMIT=460MiB has room for no more"},
			byDefault("--half-close-timeout", "1m0s"),
			byDefault("--connection-buffer", "16MiB"),
			byDefault("--total-buffer", "256MiB"),
			byDefault("--drain-timeout", "20s"),
			{Flag: "--listen-address", Source: status.SourceDefault, Effective: "127.0.0.1:14001", Why: "all CIDRs are IPv4"},
			byDefault("--admin-address", "127.0.0.1:14000"),
		},
	}
}

// State returns the sidecar as a whole.
func (s Sidecar) State(now time.Time) status.State {
	var held int64
	for c := range s.Each(now) {
		held += c.HeldBytes
	}
	probe := func(cidr, target string) status.Redirect {
		return status.Redirect{Target: target, Family: "IPv4", CIDR: cidr, OK: true, Checked: now.Add(-12 * time.Second)}
	}
	state := status.State{
		Instance: s.Instance, Now: now, Started: s.Started, Phase: status.PhaseListening,
		Open: s.Connections, MaxConnections: 11730, MaxDials: 256, HeldBytes: held, TotalBuffer: 256 << 20,
		Redirect: []status.Redirect{
			probe("", "192.0.2.1:23417"), probe("100.64.0.0/12", "100.64.0.1:23417"),
			probe("100.104.0.0/13", "100.104.0.1:23417"), probe("10.250.0.0/16", "10.250.0.1:23417"),
		},
		Certificates: s.certificates(now),
		Servers:      s.servers(now),
	}
	if s.Trouble {
		state.Dialling = 3
	}
	return state
}

func (s Sidecar) certificates(now time.Time) []status.Certificate {
	day := 24 * time.Hour
	client := status.Certificate{
		Role: status.RoleClient, File: "/certs/client/tls.crt", Subject: "CN=proxy-client", Issuer: "CN=ca-proxy",
		NotBefore: now.Add(-20 * day), NotAfter: now.Add(70 * day), Seen: s.Started,
	}
	if s.Trouble {
		client.NotBefore, client.NotAfter = now.Add(-84*day), now.Add(6*day-3*time.Hour)
		client.Due = true
	}
	return []status.Certificate{
		{
			Role: status.RoleCA, File: "/certs/ca/ca.crt", Subject: "CN=ca-proxy", Issuer: "CN=ca-proxy",
			NotBefore: now.Add(-400 * day), NotAfter: now.Add(3250 * day), Seen: s.Started,
		},
		client,
		{
			Role: status.RoleServer, Server: "vpn-proxy-server:8090", Address: "10.96.14.7:8090", Subject: "CN=vpn-proxy-server",
			Names: []string{"vpn-proxy-server", "vpn-proxy-server.shoot.svc"}, Issuer: "CN=ca-proxy",
			NotBefore: now.Add(-40 * day), NotAfter: now.Add(325 * day), Seen: s.Started,
		},
	}
}

func (s Sidecar) servers(now time.Time) []status.Server {
	endpoint := func(address string, load int, dial float64) status.Endpoint {
		return status.Endpoint{
			Address: address, State: status.EndpointGood, Up: true, UpSince: s.Started, Answered: now.Add(-time.Second), Load: load, DialSeconds: dial,
		}
	}
	half := s.Connections / 2
	all := []status.Server{
		{
			Name: "vpn-proxy-server:8090", Network: "tcp", Address: "vpn-proxy-server:8090", Mode: "auto", Speaks: "grpc", Up: true,
			Endpoints: []status.Endpoint{endpoint("10.96.14.7:8090", half, 0.0042), endpoint("10.96.14.8:8090", s.Connections-half, 0.0051)},
		},
		{
			Name: "vpn-proxy-server-b:8090", Network: "tcp", Address: "vpn-proxy-server-b:8090", Mode: "auto", Speaks: "grpc", Up: true,
			Endpoints: []status.Endpoint{endpoint("10.96.21.3:8090", 0, 0.0063)},
		},
	}
	if s.Trouble {
		all[0].Endpoints[1] = status.Endpoint{
			Address: "10.96.14.8:8090", State: status.EndpointAside, Up: true, UpSince: s.Started, Failures: 3, Until: now.Add(23 * time.Second), Reason: "no_agent",
			Error: "the proxy-server has no agent connected", Next: "look at the agent's log in the shoot: the agent connects to the server",
			DialSeconds: 0.0051,
		}
		all[0].Endpoints[0].Load = s.Connections
		all[1].Up, all[1].Speaks, all[1].Reason = false, "", "server_unreachable"
		all[1].Cause = "dial tcp 10.96.21.3:8090: connect: connection refused"
		all[1].Next = "check the address, the network policies of the seed, and whether the server runs"
		all[1].Endpoints[0] = status.Endpoint{
			Address: "10.96.21.3:8090", State: status.EndpointUnreachable, Failures: 9, Until: now.Add(8 * time.Second),
			Reason: all[1].Reason, Error: all[1].Cause, Next: all[1].Next,
		}
	}
	return all
}

// targets are the destinations, each with how often it occurs.
var targets = []struct {
	address string
	port    int
	weight  int
}{{"100.64.", 9100, 8}, {"100.64.", 8080, 6}, {"100.104.0.", 443, 3}, {"10.250.0.", 10250, 5}, {"10.250.0.", 9100, 4}}

// Each returns the connections. Their bytes grow with time.
func (s Sidecar) Each(now time.Time) iter.Seq[status.Connection] {
	return func(yield func(status.Connection) bool) {
		random := rand.New(rand.NewPCG(16, 4))
		for i := range s.Connections {
			if !yield(s.connection(random, i, now)) {
				return
			}
		}
	}
}

func (s Sidecar) connection(random *rand.Rand, i int, now time.Time) status.Connection {
	at, total := 0, 0
	for _, t := range targets {
		total += t.weight
	}
	for pick := random.IntN(total); pick >= targets[at].weight; at++ {
		pick -= targets[at].weight
	}
	host := targets[at].address + fmt.Sprint(1+random.IntN(250))
	if at < 2 {
		host = fmt.Sprintf("%s%d.%d", targets[at].address, random.IntN(32), 1+random.IntN(250))
	}
	age := random.ExpFloat64() * 600
	perSecond := math.Exp(random.NormFloat64()*2 + 6)
	idle := random.Float64() * 2
	if random.IntN(4) == 0 {
		perSecond, idle = 0, min(age, 20+random.Float64()*400)
	}
	since := now.Sub(s.Started).Seconds()
	c := status.Connection{
		ID: uint64(i + 1), Source: fmt.Sprintf("10.96.0.10:%d", 32768+i%28000), Destination: fmt.Sprintf("%s:%d", host, targets[at].port),
		Server: "vpn-proxy-server:8090", DialID: fmt.Sprint(1 + random.Int64N(1<<52)), State: status.ConnectionOpen,
		Accepted:    s.Started.Add(-time.Duration(age * float64(time.Second))),
		DialSeconds: 0.002 + random.ExpFloat64()*0.004, IdleSeconds: idle,
		SentBytes: int64(300 + age*8), ReceivedBytes: int64(perSecond * (age + since)),
	}
	if random.IntN(40) == 0 {
		c.HeldBytes = random.Int64N(400 << 10)
	}
	if s.Trouble && i == 3 {
		c.HeldBytes, c.ReceivedBytes = 13<<20, c.ReceivedBytes+900<<20
	}
	if s.Trouble && i < 3 {
		c.State, c.Server, c.DialID, c.Destination = status.ConnectionDialling, "", "", "10.250.0.17:10250"
		c.Accepted, c.SentBytes, c.ReceivedBytes, c.HeldBytes, c.IdleSeconds, c.DialSeconds = now.Add(-time.Duration(i+2)*time.Second), 0, 0, 0, float64(i+2), float64(i+2)
	}
	return c
}

// Failures returns what failed. Each names its cause.
func (s Sidecar) Failures(now time.Time) []status.Failure {
	if !s.Trouble {
		return nil
	}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	return []status.Failure{
		{
			First: ago(4 * time.Minute), Time: ago(6 * time.Second), Source: "10.96.0.10:51514", Destination: "10.250.0.17:10250", Server: "vpn-proxy-server:8090",
			DialID: "2718281828459045", Reason: "timeout", Fault: status.FaultTarget, Error: "through proxy-server vpn-proxy-server:8090: dial refused: \"dial tcp 10.250.0.17:10250: i/o timeout\"", Times: 17,
			Cure: cure.TargetSilent,
		},
		{
			First: ago(70 * time.Second), Time: ago(70 * time.Second), Source: "10.96.0.10:41102", Destination: "100.64.3.7:9999", Server: "vpn-proxy-server:8090",
			DialID: "3141592653589793", Reason: "refused", Fault: status.FaultTarget, Times: 1,
			Error: `through proxy-server vpn-proxy-server:8090: dial refused: "dial tcp 100.64.3.7:9999: connect: connection refused"`,
			Cure:  "look at the target; the tunnel works",
		},
		{
			First: ago(9 * time.Minute), Time: ago(8 * time.Minute), Source: "10.96.0.10:38800", Destination: "10.251.0.9:443", Reason: "outside_cidrs",
			Error: "10.251.0.9:443 is in none of the sidecar's CIDRs", Cure: "give both containers the same CIDRs", Times: 4,
		},
	}
}

// History returns the last 15 minutes.
func (s Sidecar) History(now time.Time) status.History {
	const interval = 5 * time.Second
	history := status.History{Instance: s.Instance, Now: now, IntervalSeconds: interval.Seconds()}
	random := rand.New(rand.NewPCG(15, 1))
	for i := range 180 {
		at := now.Add(-time.Duration(179-i) * interval)
		wave := 1 + 0.4*math.Sin(float64(i)/11) + 0.2*random.Float64()
		point := status.Point{
			Time: at, ReceivedBytes: 2.6e6 * wave, SentBytes: 2.1e5 * wave, Dials: int(38 * wave), Open: s.Connections,
			DialP50: 0.004 * (0.9 + 0.2*random.Float64()), DialP99: 0.011 * (0.8 + 0.6*random.Float64()),
			HeldBytes: int64(300e3 * wave * random.Float64()),
		}
		if s.Trouble && i > 130 {
			point.Failed = random.IntN(9)
			point.DialP99 *= 1 + float64(i-130)/20
			point.HeldBytes += int64(i-130) * 270e3
		}
		if i > 60 && i < 70 {
			point.Dials, point.DialP50, point.DialP99 = 0, 0, 0
		}
		history.Points = append(history.Points, point)
	}
	return history
}
