// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/shoot-proxy/proxy-client/internal/grpcwire"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// No server has these methods. A server with grpc-go answers at once, without any
	// code of the service, whether the method or the service is unknown
	// (Server.handleStream).
	proxyIdentity = "/ProxyService/Identity"
	agentIdentity = "/AgentService/Identity"
	// unknownService and unknownMethod are the texts of the two answers.
	unknownService = "unknown service ProxyService"
	unknownMethod  = "unknown method Identity for service "
	// identityTimeout bounds the wait for each of these answers.
	identityTimeout = 2 * time.Second
	// openTimeout is how long a Proxy stream must stay open without a message to prove
	// that the service is there. A server without the service answers at once.
	openTimeout = time.Second
)

// ErrOtherServer is wrapped by the error of a server that speaks HTTP/2, and answers the
// method of dials as no proxy-server does.
var ErrOtherServer = errors.New("no konnectivity proxy-server answers there")

// identify returns an error if the server behind conn is not one for dials.
//
// Only an answer that is certain counts. A proxy in between may answer methods that it
// does not know by itself. Then identify calls the method of dials, which a
// proxy-server leaves open until it gets a dial.
func (d *Dialer) identify(ctx context.Context, conn *grpcwire.Conn) *tunnel.Error {
	switch answer := ask(ctx, conn, proxyIdentity, identityTimeout); {
	case isUnimplemented(answer, unknownMethod+"ProxyService"):
		return nil
	case isUnimplemented(answer, unknownService):
		return d.wrongService(ctx, conn)
	}
	return d.judgeAnswer(ask(ctx, conn, proxyMethod, openTimeout))
}

// ask calls a method without a message, and returns the error of the answer.
func ask(ctx context.Context, conn *grpcwire.Conn, method string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return conn.Call(ctx, method)
}

// isUnimplemented reports whether answer is grpc-go's, with these words.
func isUnimplemented(answer error, words string) bool {
	is, ok := status.FromError(answer)
	return ok && is.Code() == codes.Unimplemented && is.Message() == words
}

// wrongService returns the error of a gRPC server that has no ProxyService.
func (d *Dialer) wrongService(ctx context.Context, conn *grpcwire.Conn) *tunnel.Error {
	if isUnimplemented(ask(ctx, conn, agentIdentity, identityTimeout), unknownMethod+"AgentService") {
		return d.WrongServer(errors.New("this is the agents' port: " + serverconn.ServersPort))
	}
	return d.WrongServer(errors.New("it is a gRPC server, but no konnectivity proxy-server: is the port right? " + serverconn.ServersPort))
}

// judgeAnswer returns an error if the end of a Proxy stream shows that the server is
// not one for dials. A gRPC status comes from a proxy-server, unless it says that the
// method is unknown. An answer of HTTP alone comes from another server, unless it says
// that the proxy-server is away for now.
func (d *Dialer) judgeAnswer(answer error) *tunnel.Error {
	code := status.Code(answer)
	switch {
	case code == codes.Unimplemented:
	case errors.Is(answer, grpcwire.ErrNotGRPC) && code != codes.Unavailable:
	default:
		return nil
	}
	return d.WrongServer(fmt.Errorf("%w: %.200s; is the port right? %s", ErrOtherServer, status.Convert(answer).Message(), serverconn.ServersPort))
}
