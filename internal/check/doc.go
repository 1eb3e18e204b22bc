// SPDX-License-Identifier: Apache-2.0

// Package check walks the way of a connection step by step, and says which step fails,
// why, and what to do.
//
// It owns the steps, what each measures, and what it says. Package report beneath it has
// their form:
//
//	sidecar := check.Ask(ctx, "127.0.0.1:14000", ":14021")
//	result, end := check.Run(ctx, check.Config{Sidecar: sidecar, CIDRs: set, Servers: servers, …})
//	result.WriteText(os.Stdout)
//	end() // what upstream needs for an orderly end
//
// # What depends on what
//
// A step that depends on a failed one is skipped, with the reason. So a report blames one
// cause only once. If one address of a server fails and another serves, the failure is a
// warning, because dials use the other.
//
// # How an agent is found
//
// Upstream has no request that asks for agents. The step agent dials port 1 on the
// loopback address of the agent itself ([AgentAddress]). The agent answers "connection
// refused" at once, which only an agent can say. Nothing leaves the agent's host.
//
// # What it never does
//
// It needs no privilege, and reads no rule of the kernel. It never connects to the
// sidecar's listener, and sends no byte through the sidecar. It knows no flag: the caller
// passes the configuration and the names of settings.
package check
