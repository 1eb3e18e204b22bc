// SPDX-License-Identifier: Apache-2.0

// Package exitpolicy decides which destinations a client of an exit may reach.
//
// It owns the policy file, the identities in a client's certificate, and the addresses
// that only a rule of their own allows. A program uses it in this way:
//
//	policy, err := exitpolicy.Parse(data)
//	grant := policy.For(exitpolicy.IdentityOf(certificate))
//	if err := grant.CheckName("prometheus.monitoring.svc.cluster.local", 9090); err != nil {
//		return err
//	}
//	… // resolves the name, and for each address:
//	err = grant.CheckAddress("prometheus.monitoring.svc.cluster.local", address)
//
// Nothing is allowed that no rule allows. It resolves no name, makes no connection, and
// reads no file.
package exitpolicy
