// SPDX-License-Identifier: Apache-2.0

package report

// Cause is a word for why a step is not ok. It is one of these, or the reason of a
// dial, as the metric proxy_client_dial_failures_total has it.
type Cause string

// The causes.
const (
	CauseNotRunning     Cause = "not_running"     // no sidecar answers
	CauseNotAnswering   Cause = "not_answering"   // a sidecar runs, and does not answer
	CauseNotReady       Cause = "not_ready"       // the sidecar reaches no server or exit, and this check reaches a server
	CauseDraining       Cause = "draining"        // the sidecar is ending
	CauseMaxConnections Cause = "max_connections" // as many connections are open as may be
	CauseBuffers        Cause = "buffers_full"    // as much is held for apps as may be
	CauseRecent         Cause = "recent_failures" // the sidecar could not serve this target a moment ago

	CauseOutside Cause = "outside_cidrs" // the target is in no CIDR of the shoot
	CauseLoop    Cause = "loop"          // the target is the sidecar or a proxy-server
	CauseName    Cause = "name"          // a name does not resolve
	CauseInside  Cause = "inside_shoot"  // a proxy-server is inside the CIDRs

	CauseRulesMissing Cause = "rules_missing" // no rule redirects
	CauseCIDRsDiffer  Cause = "cidrs_differ"  // rules and sidecar have different CIDRs
	CauseShadowed     Cause = "shadowed"      // rules of another program come first
	CauseNoRoute      Cause = "no_route"      // the pod has no route or address of the family

	CauseFile        Cause = "file"          // a file cannot be read or used
	CauseNotAPair    Cause = "not_a_pair"    // certificate and key do not belong together
	CauseExpired     Cause = "expired"       // a certificate has expired
	CauseNotYetValid Cause = "not_yet_valid" // a certificate is not valid yet
	CauseExpires     Cause = "expires_soon"  // a certificate should have been replaced by now
	CauseClock       Cause = "clock"         // this node's clock is wrong

	CauseConnectRefused Cause = "connect_refused"      // nothing listens at the server's address
	CauseConnectTimeout Cause = "connect_timeout"      // nothing answers there
	CauseSilent         Cause = "silent"               // the server accepts connections and does not answer
	CauseWrongCA        Cause = "wrong_ca"             // the server's certificate is not signed by our CA
	CauseWrongName      Cause = "wrong_name"           // it is for another name
	CauseClientRefused  Cause = "client_cert_refused"  // the server does not accept our certificate
	CauseAgentsPort     Cause = "agents_port"          // the server's port for agents
	CausePlaintext      Cause = "plaintext"            // a port without TLS
	CauseWrongMode      Cause = "wrong_mode"           // the server speaks the other mode
	CauseOtherServer    Cause = "not_a_proxy_server"   // the server is none of konnectivity
	CauseOnlyNames      Cause = "no_agent_for_address" // agents are found by registered hosts only
	CauseAgentSilent    Cause = "agent_silent"         // an agent is there and does not answer
	CauseSlow           Cause = "slow"                 // dials take long
	CauseTargetSilent   Cause = "target_silent"        // the target accepts connections and does not answer, which may be right
)
