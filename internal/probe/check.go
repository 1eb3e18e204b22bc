// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// checkTimeout is the timeout of a Check whose context has no deadline. A working probe
// stays on loopback and takes less than a millisecond.
const checkTimeout = 3 * time.Second

// Error is the error of a failed probe.
type Error struct {
	// Target is the address that was probed.
	Target netip.AddrPort
	// Cause is the most likely cause, and what to do about it.
	Cause string
	// Err is what happened.
	Err error
}

// Error returns the target, what happened, and the likely cause.
func (e *Error) Error() string {
	return fmt.Sprintf("probe %s: %v: %s", e.Target, e.Err, e.Cause)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Check connects to target and reads the answer. It returns nil if the redirect works.
// If not, it returns an [*Error] with the likely cause. If ctx was cancelled, it
// returns the context's error. If ctx has no deadline, the timeout is three seconds.
func Check(ctx context.Context, target netip.AddrPort) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, checkTimeout)
		defer cancel()
	}
	answer, err := readAnswer(ctx, target)
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("probe %s: %w", target, ctx.Err())
	}
	if err != nil {
		return &Error{Target: target, Cause: cause(err), Err: err}
	}
	seen, err := parseLine(answer)
	if err != nil {
		return &Error{
			Target: target,
			Cause: "another program listens on the proxy port, or another mesh or proxy in this pod took the connection first: " +
				"look at the first rules of `iptables -t nat -S OUTPUT` and at who listens on the proxy port",
			Err: fmt.Errorf("the answer %q is %w", answer, err),
		}
	}
	if seen != unmap(target) {
		return &Error{
			Target: target,
			Cause: "the original destination is not what it should be, so connections would go to the wrong place: " +
				"another rule rewrites it first, or the connection did not pass through conntrack; look at `iptables -t nat -S` and at raw NOTRACK rules",
			Err: fmt.Errorf("the listener saw a connection to %s", seen),
		}
	}
	return nil
}

// Unexplained is the Cause of a failure without a likely cause.
const Unexplained = "run `init-redirect dump` in this pod to see the rules and their counters"

// ErrSilent is the Err of an [Error] if the listener closed the connection without an
// answer.
var ErrSilent = errors.New("the connection was closed without an answer")

// errNoAnswer is the error of a connection that was accepted and brought no answer.
var errNoAnswer = errors.New("the connection was accepted, but no answer came in time")

// readAnswer returns what the listener behind target sends, at most one byte more than
// the longest answer. Every wait in it ends with ctx.
func readAnswer(ctx context.Context, target netip.AddrPort) ([]byte, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", target.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	answer, err := io.ReadAll(io.LimitReader(conn, int64(maxLine)+1))
	if err != nil && len(answer) == 0 {
		if isTimeout(err) {
			return nil, errNoAnswer
		}
		return nil, err
	}
	if len(answer) == 0 {
		return nil, ErrSilent
	}
	return answer, nil
}

// HowTo is where a person reads how the commands of init-redirect are run in a pod. It has no
// quotation marks, which JSON would have to quote.
const HowTo = "docs/debugging.md, The rules of a running pod, has the commands"

// cause returns the most likely cause of a failure to connect or to read. Between the
// probe and its answer there are only our rules and our listener.
func cause(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens where the connection was led, or a rule rejected it. In this order: another table or mesh in this pod takes it first " +
			"(`iptables -t nat -S OUTPUT` of both backends, `nft list ruleset`, NOTRACK in `iptables -t raw -S`); the nat rules are missing, so that the guard rejects it " +
			"(`init-redirect verify`; " + HowTo + "); or proxy-client is not running, or listens on another port than init-redirect redirects to"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, ErrSilent):
		return "the sidecar accepted the connection but does not take it for the probe: " +
			"its shoot CIDRs and exclusions most likely differ from those of init-redirect; give both the same"
	case errors.Is(err, errNoAnswer):
		return "another program listens on the proxy port, or the connection was taken by another mesh or left the pod for somewhere that accepts everything: " +
			"look at the first rules of `iptables -t nat -S OUTPUT` and at who listens on the proxy port"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return "the pod has no route or address of this family, which init-redirect adds: " +
			"run init-redirect again, and see that the kernel has the family enabled (net.ipv6.conf.all.disable_ipv6)"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "the probe was not redirected and left the pod, or a rule dropped it (`iptables -t mangle -S`, `nft list ruleset`): " +
			"the nat rules are missing, were flushed, or stand in the other iptables backend; " +
			"run `init-redirect verify`, then `init-redirect apply` to repair them; " + HowTo
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return "a firewall rule or security policy in this pod forbids the connection: look at `iptables -S OUTPUT` for rules that are not ours"
	default:
		return Unexplained
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
