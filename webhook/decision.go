// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Decision is what to do with a pod.
type Decision int

// The decisions.
const (
	// Inject: the pod gets both containers, or is brought up to date.
	Inject Decision = iota + 1
	// Skip: the pod stays as it is.
	Skip
	// Refuse: the pod must not be, because what its label asks for cannot be done.
	Refuse
)

// String returns inject, skip or refuse.
func (d Decision) String() string {
	switch d {
	case Inject:
		return "inject"
	case Skip:
		return "skip"
	case Refuse:
		return "refuse"
	default:
		return fmt.Sprintf("Decision(%d)", int(d))
	}
}

// Reason is why a decision is as it is: a value of a metric's label.
type Reason string

// The reasons.
const (
	ReasonInjected        Reason = "injected"
	ReasonUpgraded        Reason = "upgraded"
	ReasonRestored        Reason = "restored" // after another webhook, in the same admission
	ReasonNoLabel         Reason = "no_label"
	ReasonDisabled        Reason = "disabled"
	ReasonAlreadyInjected Reason = "already_injected"

	ReasonBadLabel         Reason = "bad_label"
	ReasonBadAnnotation    Reason = "bad_annotation"
	ReasonLocked           Reason = "locked"
	ReasonBadConfig        Reason = "bad_config"
	ReasonConfigMissing    Reason = "config_missing"
	ReasonConfigNotAllowed Reason = "config_not_allowed"
	ReasonNoCIDRs          Reason = "no_cidrs"
	ReasonNoProxyServer    Reason = "no_proxy_server"
	ReasonNoTLS            Reason = "no_tls"
	ReasonHostNetwork      Reason = "host_network"
	ReasonWindows          Reason = "windows"
	ReasonProxyUID         Reason = "proxy_uid"
	ReasonPortCollision    Reason = "port_collision"
	ReasonForeignName      Reason = "foreign_name"
	ReasonPodResources     Reason = "pod_resources"
	ReasonNeverCompletes   Reason = "never_completes"
	ReasonOldNodes         Reason = "old_nodes"
	ReasonBadRequest       Reason = "bad_request" // of an edge: what came is no pod
	ReasonUnavailable      Reason = "unavailable" // of an edge: a source could not be read
)

// Reasons are all of them.
func Reasons() []Reason {
	return []Reason{
		ReasonInjected, ReasonUpgraded, ReasonRestored, ReasonNoLabel, ReasonDisabled, ReasonAlreadyInjected,
		ReasonBadLabel, ReasonBadAnnotation, ReasonLocked, ReasonBadConfig, ReasonConfigMissing, ReasonConfigNotAllowed,
		ReasonNoCIDRs, ReasonNoProxyServer, ReasonNoTLS, ReasonHostNetwork, ReasonWindows, ReasonProxyUID,
		ReasonPortCollision, ReasonForeignName, ReasonPodResources, ReasonNeverCompletes, ReasonOldNodes, ReasonBadRequest, ReasonUnavailable,
	}
}

// Result is a decision and all that goes with it.
type Result struct {
	Decision Decision
	Reason   Reason
	// Message is one sentence for people. Of a refusal it is what the API server's
	// client sees.
	Message string
	// Detail is Message with what only the operator may see, for a log; empty where
	// there is nothing more.
	Detail string
	// Warnings are for the API server's client, of at most 120 characters each.
	Warnings []string
	// Pod is the injected one; nil unless Decision is Inject.
	Pod *corev1.Pod
	// Values are what was used, as far as it was looked at, in a fixed order.
	Values []Value
	// Hash is of what was injected, or is there already.
	Hash string
}

// Refused is the refusal of an edge, which could not even ask.
func Refused(reason Reason, message string) Result {
	return Result{Decision: Refuse, Reason: reason, Message: message}
}

func refuse(reason Reason, format string, args ...any) *Result {
	r := Refused(reason, fmt.Sprintf(format, args...))
	return &r
}

func skip(reason Reason, message string) Result {
	return Result{Decision: Skip, Reason: reason, Message: message}
}
