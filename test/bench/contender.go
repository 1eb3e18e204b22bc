// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Contender is one way to reach a target in the shoot.
type Contender string

// The contenders.
const (
	Direct        Contender = "direct"              // in the shoot's own network: the physical limit
	StockGRPC     Contender = "stock gRPC"          // konnectivity-client's single-use tunnel, in process
	ReusableGRPC  Contender = "reusable gRPC"       // its CreateGRPCTunnel, windows of 4 and 16 MiB, in process
	InProcess     Contender = "CONNECT"             // TLS and CONNECT for each connection, in process
	SOCKS5Sidecar Contender = "SOCKS5 sidecar"      // the same in a sidecar
	OursGRPC      Contender = "ours (grpc)"         // the product, an unmodified client
	OursConnect   Contender = "ours (http-connect)" // the same over http-connect
	ExitGRPC      Contender = "exit (grpc)"         // the product with an exit in the shoot, over grpc
	ExitConnect   Contender = "exit (http-connect)" // the same over http-connect
)

// Contenders returns all of them, in the order of the reports.
func Contenders() []Contender {
	return []Contender{Direct, StockGRPC, ReusableGRPC, InProcess, SOCKS5Sidecar, OursGRPC, OursConnect, ExitGRPC, ExitConnect}
}

// rival is a contender that is set up and ready to measure.
type rival struct {
	name    Contender
	site    *site
	driver  *remote
	client  Client
	sidecar func() *lab.Process // nil if there is none
	exit    *lab.Exit           // nil if it uses none
}

func rivals(grpc, connect *site) []rival {
	stock := Client{Frontend: grpc.lab.Frontend(), TLS: grpc.files()}
	single, reusable := stock, stock
	single.Kind, reusable.Kind = SingleUse, Reusable
	process := func(of **lab.Process) func() *lab.Process { return func() *lab.Process { return *of } }
	return []rival{
		{Direct, grpc, grpc.shoot, Client{Kind: Plain}, nil, nil},
		{StockGRPC, grpc, grpc.pod, single, nil, nil},
		{ReusableGRPC, grpc, grpc.pod, reusable, nil, nil},
		{InProcess, connect, connect.pod, Client{Kind: Connect, Frontend: connect.lab.Frontend(), TLS: connect.files()}, nil, nil},
		{SOCKS5Sidecar, connect, connect.pod, Client{Kind: SOCKS5Kind, SOCKS5: socks5Listen}, process(&connect.socks5), nil},
		{OursGRPC, grpc, grpc.pod, Client{Kind: Plain}, process(&grpc.product), nil},
		{OursConnect, connect, connect.pod, Client{Kind: Plain}, process(&connect.product), nil},
		{ExitGRPC, grpc, grpc.exitPod, Client{Kind: Plain}, process(&grpc.exitProduct), grpc.lab.Exits[0]},
		{ExitConnect, connect, connect.exitPod, Client{Kind: Plain}, process(&connect.exitProduct), connect.lab.Exits[0]},
	}
}
