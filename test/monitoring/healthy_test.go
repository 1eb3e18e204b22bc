// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"fmt"
	"strings"
)

// Target labels, as a PodMonitor and a ServiceMonitor make them.
const (
	sidecarLabels = `container="proxy-client",endpoint="proxy-health",instance="10.0.0.5:14021",job="shoot-proxy/proxy-client",namespace="monitoring",pod="prometheus-0"`
	webhookLabels = `container="webhook",endpoint="health",instance="10.0.0.6:8081",job="proxy-client-webhook",namespace="shoot-proxy",pod="proxy-client-webhook-0",service="proxy-client-webhook"`
	exitLabels    = `container="proxy-exit",endpoint="health",instance="100.64.0.7:9444",job="proxy-exit",namespace="shoot-proxy",pod="proxy-exit-0",service="proxy-exit"`
	always        = "+0x79" // behind a value: it stays for the whole course
)

// series returns the name of a series. labels are name=value, without the quotes.
func series(name, target string, labels []string) string {
	all := target
	for _, label := range labels {
		key, value, _ := strings.Cut(label, "=")
		all += fmt.Sprintf(",%s=%q", key, value)
	}
	return name + "{" + all + "}"
}

// sidecar returns the name of a sidecar's series.
func sidecar(name string, labels ...string) string { return series(name, sidecarLabels, labels) }

// webhook returns the name of a series of the webhook.
func webhook(name string, labels ...string) string {
	return series("shoot_proxy_webhook_"+name, webhookLabels, labels)
}

// exit returns the name of a series of an exit.
func exit(name string, labels ...string) string {
	return series("proxy_exit_"+name, exitLabels, labels)
}

// dialFailures, serverFailures and closes return names of series by reason.
func dialFailures(reason string) string {
	return sidecar("proxy_client_dial_failures_total", "reason="+reason)
}

func serverFailures(server, reason string) string {
	return sidecar("proxy_client_server_failures_total", "server="+server, "reason="+reason)
}

func closes(reason string) string { return sidecar("proxy_client_close_total", "reason="+reason) }

// certificate returns the name of a series about a certificate: "expiry" or "not_before".
func certificate(end, role, server string) string {
	return sidecar("proxy_client_certificate_"+end+"_timestamp_seconds", "role="+role, "server="+server)
}

// dials is the series of dials that succeed.
var dials = sidecar("proxy_client_dial_duration_seconds_count")

// healthy returns the series of an installation in which all is well, over 40 minutes:
// one sidecar with two proxy-servers, one dial a second, and one replica of the webhook.
// Some targets refuse, and some apps give up. Prometheus scrapes kube-apiserver and
// kube-state-metrics too.
func healthy() map[string]string {
	s := map[string]string{
		series("up", sidecarLabels, nil):    "1" + always,
		dials:                               "0+30x79",
		sidecar("proxy_client_redirect_ok"): "1" + always,
		sidecar("proxy_client_exit_tunnels", "exit=e:9443"):        "2" + always,
		sidecar("proxy_client_redirect_success_timestamp_seconds"): "0+30x79",
		sidecar("proxy_client_connections_active"):                 "200" + always,
		sidecar("proxy_client_connections_limit"):                  "16384" + always,
		sidecar("proxy_client_dials_active"):                       "2" + always,
		sidecar("proxy_client_dials_limit"):                        "256" + always,
		sidecar("proxy_client_buffered_bytes"):                     "1000000" + always,
		sidecar("proxy_client_buffer_limit_bytes"):                 "268435456" + always,

		webhook("config_valid"):                             "1" + always,
		webhook("certificate_expiry_timestamp_seconds"):     "31536000" + always,
		webhook("certificate_not_before_timestamp_seconds"): "0" + always,

		`apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="inject.shoot-proxy.io",operation="CREATE",rejection_code="0",type="admit",instance="10.0.0.1:6443",job="apiserver"}`: "0" + always,

		`kube_pod_labels{namespace="monitoring",pod="prometheus-0",label_shoot_proxy_io_inject="true",job="kube-state-metrics"}`:    "1" + always,
		`kube_pod_status_phase{namespace="monitoring",pod="prometheus-0",phase="Running",job="kube-state-metrics"}`:                 "1" + always,
		`kube_pod_init_container_info{namespace="monitoring",pod="prometheus-0",container="proxy-client",job="kube-state-metrics"}`: "1" + always,
	}
	for _, reason := range []string{
		"cancelled", "exit_unreachable", "forbidden", "loop", "max_connections", "max_dials", "no_agent", "no_port", "not_redirected", "other", "outside_cidrs",
		"protocol", "refused", "server_unreachable", "timeout", "tls", "unreachable",
	} {
		s[dialFailures(reason)] = "0" + always
	}
	s[dialFailures("refused")], s[dialFailures("cancelled")] = "0+6x79", "0+3x79"
	for _, reason := range []string{"app_closed", "app_reset", "target_closed", "target_reset", "idle", "drain", "half_close_unsupported", "slow_reader", "tunnel_broken", "protocol"} {
		s[closes(reason)] = "0" + always
	}
	s[closes("app_closed")], s[closes("target_closed")] = "0+20x79", "0+10x79"
	for _, server := range []string{"a:8090", "b:8090"} {
		s[sidecar("proxy_client_server_up", "server="+server)] = "1" + always
		for _, reason := range []string{"cancelled", "exit_unreachable", "forbidden", "max_connections", "no_agent", "no_port", "other", "protocol", "refused", "server_unreachable", "timeout", "tls", "unreachable"} {
			s[serverFailures(server, reason)] = "0" + always
		}
		s[certificate("expiry", "server", server)], s[certificate("not_before", "server", server)] = "5184000"+always, "-2592000"+always
	}
	for _, role := range []string{"ca", "client"} { // of 90 days, 60 of which are left
		s[certificate("expiry", role, "")], s[certificate("not_before", role, "")] = "5184000"+always, "-2592000"+always
	}
	for reason, decision := range map[string]string{"injected": "inject", "already_injected": "skip", "bad_config": "refuse", "unavailable": "refuse", "locked": "refuse"} {
		s[webhook("requests_total", "decision="+decision, "reason="+reason)] = "0" + always
	}
	s[webhook("requests_total", "decision=inject", "reason=injected")] = "0+3x79"
	for _, le := range []string{"0.005", "1", "2.5", "+Inf"} {
		s[webhook("request_duration_seconds_bucket", "le="+le)] = "0+3x79"
	}
	return s
}

// healthyExit returns the series of an exit in which all is well, over 40 minutes. It is in
// the shoot, and another Prometheus scrapes it.
func healthyExit() map[string]string {
	s := map[string]string{
		exit("build_info", "version=0.1.0"):                         "1" + always,
		exit("policy_ok"):                                           "1" + always,
		exit("certificates_ok"):                                     "1" + always,
		exit("certificate_expiry_timestamp_seconds", "role=server"): "5184000" + always,
		exit("certificate_expiry_timestamp_seconds", "role=ca"):     "315360000" + always,
		exit("connections_total", "result=served"):                  "0+1x79",
		exit("connections_total", "result=handshake"):               "0" + always,
	}
	for _, problem := range []string{"connection_refused", "connection_timeout", "destination_ip_prohibited", "http_request_denied", "connection_limit_reached"} {
		s[exit("refused_total", "error="+problem)] = "0" + always
	}
	return s
}
