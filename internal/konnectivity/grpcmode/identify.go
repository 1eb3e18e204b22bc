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
	// No server has these methods. grpc-go's says at once, without running any code
	// of the service's, whether it is the method or the service that it does not know
	// (Server.handleStream).
	proxyIdentity = "/ProxyService/Identity"
	agentIdentity = "/AgentService/Identity"
	// unknownService and unknownMethod are how it words the two.
	unknownService = "unknown service ProxyService"
	unknownMethod  = "unknown method Identity for service "
	// identityTimeout bounds the wait for each of these answers.
	identityTimeout = 2 * time.Second
	// openTimeout is how long a stream of dials must stay open without a message for
	// the service to be there. A server that does not have it says so at once.
	openTimeout = time.Second
)

// identify returns an error where the server behind conn is none that dials are for.
//
// Only such an answer counts as is certain. A proxy in between may have an answer of
// its own to methods that it does not know; then the method of dials is asked, which
// a proxy-server leaves open until it gets a dial.
func (e *Dialer) identify(ctx context.Context, conn *grpcwire.Conn) *tunnel.Error {
	switch answer := ask(ctx, conn, proxyIdentity, identityTimeout); {
	case isUnimplemented(answer, unknownMethod+"ProxyService"):
		return nil
	case isUnimplemented(answer, unknownService):
		return e.wrongService(ctx, conn)
	}
	return e.judgeAnswer(ask(ctx, conn, proxyMethod, openTimeout))
}

// ask calls a method with nothing.
func ask(ctx context.Context, conn *grpcwire.Conn, method string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return conn.Call(ctx, method)
}

// isUnimplemented reports whether answer is grpc-go's, in these words.
func isUnimplemented(answer error, words string) bool {
	is, ok := status.FromError(answer)
	return ok && is.Code() == codes.Unimplemented && is.Message() == words
}

// wrongService says what a gRPC server is that has no ProxyService.
func (e *Dialer) wrongService(ctx context.Context, conn *grpcwire.Conn) *tunnel.Error {
	if isUnimplemented(ask(ctx, conn, agentIdentity, identityTimeout), unknownMethod+"AgentService") {
		return e.WrongServer(errors.New("this is the agents' port: " + serverconn.ServersPort))
	}
	return e.WrongServer(errors.New("it is a gRPC server, but no konnectivity proxy-server: is the port right? " + serverconn.ServersPort))
}

// judgeAnswer returns an error where the end of a stream of dials says that the
// server is none for dials. A status of gRPC's is a proxy-server's, but for the one
// that says that there is no such method. An answer that is HTTP's alone is
// another's, but for those by which a proxy says that the server is away for now.
func (e *Dialer) judgeAnswer(answer error) *tunnel.Error {
	code := status.Code(answer)
	switch {
	case code == codes.Unimplemented:
	case errors.Is(answer, grpcwire.ErrNotGRPC) && code != codes.Unavailable:
	default:
		return nil
	}
	return e.WrongServer(fmt.Errorf("no konnectivity proxy-server answers there: %.200s; is the port right? %s", status.Convert(answer).Message(), serverconn.ServersPort))
}
