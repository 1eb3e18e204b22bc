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
	// Inject: the pod gets both containers, or is updated.
	Inject Decision = iota + 1
	// Skip: the pod stays unchanged.
	Skip
	// Refuse: the pod must not be created, because what its label asks for cannot be
	// done.
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

// Reason is the reason for a decision, as the value of a metric's label.
type Reason string

// The reasons.
const (
	ReasonInjected        Reason = "injected"
	ReasonUpgraded        Reason = "upgraded"
	ReasonRestored        Reason = "restored" // after another webhook, in the same admission
	ReasonNoLabel         Reason = "no_label"
	ReasonDisabled        Reason = "disabled"
	ReasonAlreadyInjected Reason = "already_injected"
	ReasonConfigDisabled  Reason = "config_disabled" // the configuration leaves labelled pods alone

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
	ReasonBadRequest       Reason = "bad_request" // given by serve and manifest: the input is not a pod
	ReasonUnavailable      Reason = "unavailable" // given by serve: a source could not be read
)

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{
		ReasonInjected, ReasonUpgraded, ReasonRestored, ReasonNoLabel, ReasonDisabled, ReasonAlreadyInjected, ReasonConfigDisabled,
		ReasonBadLabel, ReasonBadAnnotation, ReasonLocked, ReasonBadConfig, ReasonConfigMissing, ReasonConfigNotAllowed,
		ReasonNoCIDRs, ReasonNoProxyServer, ReasonNoTLS, ReasonHostNetwork, ReasonWindows, ReasonProxyUID,
		ReasonPortCollision, ReasonForeignName, ReasonPodResources, ReasonNeverCompletes, ReasonOldNodes, ReasonBadRequest, ReasonUnavailable,
	}
}

// Result is a decision with everything that belongs to it.
type Result struct {
	Decision Decision
	Reason   Reason
	// Message is one sentence for people. For a refusal it is what the API server's
	// client sees.
	Message string
	// Detail is Message with what only the operator may see, for a log. It is empty if
	// there is nothing more.
	Detail string
	// Warnings are for the API server's client. Each has at most 120 characters.
	Warnings []string
	// Pod is the injected pod. It is nil unless Decision is Inject.
	Pod *corev1.Pod
	// Values are the settings that were read, in a fixed order.
	Values []Value
	// Hash is the hash of what was injected now or earlier.
	Hash string
}

// Refused returns a refusal by a caller of this package, such as serve, that could not
// call Mutate.
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
