// SPDX-License-Identifier: Apache-2.0

package inspect

import "github.com/shoot-proxy/proxy-client/webhook/report"

// What an inspection returns: see package report.
type (
	// Report is the result of an inspection.
	Report = report.Report
	// Finding is one result.
	Finding = report.Finding
	// Status is the result of one check.
	Status = report.Status
	// Group is a part of the installation.
	Group = report.Group
	// Shoot is one set of ranges that pods redirect.
	Shoot = report.Shoot
)

// The statuses.
const (
	OK      = report.OK
	Warning = report.Warning
	Failure = report.Failure
	Skipped = report.Skipped
)

// The groups.
const (
	GroupWebhook    = report.GroupWebhook
	GroupNamespaces = report.GroupNamespaces
	GroupWorkloads  = report.GroupWorkloads
	GroupPods       = report.GroupPods
	GroupSecrets    = report.GroupSecrets
	GroupServers    = report.GroupServers
	GroupNetworks   = report.GroupNetworks
	GroupNodes      = report.GroupNodes
	GroupRights     = report.GroupRights
)
