// SPDX-License-Identifier: Apache-2.0

// Package cure says what a person can do about a connection that was not made, or that
// broke. README.md has the same words in its tables of reasons
// (TestCuresAreThoseOfTheReadme).
//
//	fmt.Println(cure.NotMade("refused")) // look at the target; the tunnel works
//
// It knows the reasons by their names, as metrics and logs have them, and nothing else.
package cure

// NotMade returns what to do about a connection that was not made for a reason of the
// metric proxy_client_dial_failures_total. For any other word it returns "".
func NotMade(reason string) string {
	switch reason {
	case "refused":
		return "look at the target; the tunnel works"
	case "timeout":
		return "if other destinations fail too, check whether the agent in the shoot hangs or is overloaded. If only this one fails, check whether its node is up, and whether a network policy of the shoot drops the connection"
	case "unreachable":
		return "check that the address exists in the shoot"
	case "no_agent":
		return "look at the agent's log in the shoot: the agent connects to the server"
	case "server_unreachable":
		return "check the address, the network policies of the seed, and whether the server runs"
	case "tls":
		return "check the CA, --server-name, and the expiry; the log line has the TLS library's message"
	case "protocol":
		return "the log line and /readyz say which it is. A dial fails at once, and a server that was corrected is used within seconds"
	case "outside_cidrs":
		return "give both containers the same CIDRs"
	case "loop":
		return "exclude the proxy-server with --exclude-cidr, in both containers"
	case "not_redirected":
		return "find that program in the pod: none needs to do this"
	case "no_port":
		return "let --proxy-server name more servers or addresses, since each has all local ports again: many connections through one server"
	case "max_connections":
		return "raise --max-connections or the limit of open files, or find the app that does not close its connections. One log line in 10 s says how many were reset"
	case "max_dials":
		return "the log line says whether a single destination had too many, which then does not answer, or all destinations together. Look for other lines with timeout, or raise --max-dials"
	case "forbidden":
		return "allow the destination in the exit's policy, for the identity in --exit-client-cert, if the app may reach it; the exit's log has the client and why it was refused. If there is no exit, allow it in the rules of the standard proxy"
	case "exit_unreachable":
		return "the log line and /readyz say why: see whether the exit runs, and whether the agent reaches it. --exit-policy=prefer lets connections go without an exit meanwhile"
	case "cancelled":
		return "usually the app has a short timeout"
	case "other":
		return "the log line has the server's message"
	default:
		return ""
	}
}

// What to do about a timeout if it is known where its cause is, which NotMade does not know.
const (
	// Silent is for a proxy-server that accepts connections, if neither it nor its agent
	// answers dials.
	Silent = "look at the agent in the shoot: does it hang, is its node overloaded, is its connection to the proxy-server cut? Restart the proxy-server if the agent's node is gone"
	// TargetSilent is for a target that has not answered its agent.
	TargetSilent = "see whether the target's node is up, and whether a NetworkPolicy or firewall of the shoot drops connections from the agent"
)

// Broken returns what to do about a connection that was reset for a reason of the metric
// proxy_client_close_total. It returns "" for a reason that needs no cure, and for any
// other word.
func Broken(reason string) string {
	switch reason {
	case "target_reset":
		return "look at the target's log"
	case "tunnel_broken":
		return "look at the proxy-server's log, and at what lies between it and the sidecar; with an exit, also at the exit's log"
	case "half_close_unsupported":
		return "let the client finish sending after it has read the answer, or raise --half-close-timeout"
	case "idle":
		return "raise --idle-timeout, or let the app send keepalives"
	case "slow_reader":
		return "find out why the app reads slowly, or raise the buffer that the log line names, and the memory limit with it"
	case "drain":
		return "connect again: the sidecar is replaced"
	case "protocol":
		return "look at the proxy-server's log; the log line has what it sent"
	default:
		return ""
	}
}
