// SPDX-License-Identifier: Apache-2.0

// Package shoot looks at a shoot: whether the ranges that pods of the seed redirect hold
// its nodes, pods and Services, and whether konnectivity's agents run there. It reads with
// the caller's rights, and changes nothing.
//
//	findings := shoot.Check(ctx, restConfig, report.Shoots)
//
// It does not know how the pods came to their ranges: package inspect does.
package shoot
