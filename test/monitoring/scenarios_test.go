// SPDX-License-Identifier: Apache-2.0

package monitoring

// Courses of a series. A disturbance begins after ten minutes, and stays or ends a minute
// later.
const (
	zeroLater     = "1+0x20 0+0x58"
	zeroBriefly   = "1+0x20 0 0 1+0x56"
	oneADialLater = "0+0x20 0+30x58" // as often as there are dials
	someLater     = "0+0x20 0+2x58"
	someBriefly   = "0+0x20 60 120 120+0x56"
	dialsStop     = "0+30x20 600+0x58"
)

// both returns what changes at both proxy-servers.
func both(reason, failures, up string) map[string]string {
	changed := map[string]string{}
	for _, server := range []string{"a:8090", "b:8090"} {
		changed[serverFailures(server, reason)] = failures
		changed[sidecar("proxy_client_server_up", "server="+server)] = up
	}
	return changed
}

// with adds series to a change.
func with(changed map[string]string, pairs ...string) map[string]string {
	for i := 0; i < len(pairs); i += 2 {
		changed[pairs[i]] = pairs[i+1]
	}
	return changed
}

func sidecarScenarios() []scenario {
	upA := sidecar("proxy_client_server_up", "server=a:8090")
	type changes = map[string]string
	return []scenario{
		{"all is well", nil, nil},
		{"many targets refuse", changes{dialFailures("refused"): "0+300x79"}, nil},
		{"apps give up", changes{dialFailures("cancelled"): "0+300x79"}, nil},

		{"redirect lost", changes{sidecar("proxy_client_redirect_ok"): zeroLater}, []string{"ShootProxyRedirectLost critical"}},
		{"redirect lost for a minute", changes{sidecar("proxy_client_redirect_ok"): zeroBriefly}, nil},
		{"redirect not checked", changes{sidecar("proxy_client_redirect_success_timestamp_seconds"): "0+30x20 600+0x58"}, []string{"ShootProxyRedirectUnchecked warning"}},
		{
			"redirect lost, so without a success",
			changes{sidecar("proxy_client_redirect_ok"): zeroLater, sidecar("proxy_client_redirect_success_timestamp_seconds"): "0+30x20 600+0x58"},
			[]string{"ShootProxyRedirectLost critical"},
		},

		{"one server down", changes{upA: zeroLater, serverFailures("a:8090", "server_unreachable"): oneADialLater}, []string{"ShootProxyServerDown warning"}},
		{
			"all servers down", with(both("server_unreachable", oneADialLater, zeroLater), dialFailures("server_unreachable"), oneADialLater, dials, dialsStop),
			[]string{"ShootProxyServerDown critical"},
		},
		{"one server restarts", changes{upA: zeroBriefly, serverFailures("a:8090", "server_unreachable"): someBriefly, closes("tunnel_broken"): "0+0x20 100+0x58"}, nil},
		{"TLS with one server", changes{upA: zeroLater, serverFailures("a:8090", "tls"): oneADialLater}, []string{"ShootProxyTLSRefused warning"}},
		{
			"TLS with all servers", with(both("tls", oneADialLater, zeroLater), dialFailures("tls"), oneADialLater, dials, dialsStop),
			[]string{"ShootProxyTLSRefused critical"},
		},
		{"one wrong server", changes{upA: zeroLater, serverFailures("a:8090", "protocol"): oneADialLater}, []string{"ShootProxyWrongServer warning"}},
		{
			"wrong servers", with(both("protocol", oneADialLater, zeroLater), dialFailures("protocol"), oneADialLater, dials, dialsStop),
			[]string{"ShootProxyWrongServer critical"},
		},

		{"one server without agent", changes{serverFailures("a:8090", "no_agent"): someLater}, []string{"ShootProxyNoAgent warning"}},
		{
			"no agent", with(both("no_agent", "0+0x20 0+60x58", "1"+always), dialFailures("no_agent"), oneADialLater, dials, dialsStop),
			[]string{"ShootProxyNoAgent critical"},
		},
		{
			"no agent, and apps give up first", with(both("no_agent", "0+0x20 0+60x58", "1"+always), dialFailures("cancelled"), oneADialLater, dials, dialsStop),
			[]string{"ShootProxyNoAgent critical"},
		},
		{"agent restarts", with(both("no_agent", someBriefly, "1"+always), dialFailures("no_agent"), someBriefly), nil},

		{"no exit answers", changes{sidecar("proxy_client_exit_tunnels", "exit=e:9443"): zeroLater}, []string{"ShootProxyExitUnreachable warning"}},
		{"one of two exits answers", changes{sidecar("proxy_client_exit_tunnels", "exit=e:9443"): zeroLater, sidecar("proxy_client_exit_tunnels", "exit=f:9443"): "1" + always}, nil},
		{"exits restart", changes{sidecar("proxy_client_exit_tunnels", "exit=e:9443"): zeroBriefly}, nil},

		{"agent hangs", changes{dialFailures("timeout"): oneADialLater, dials: dialsStop}, []string{"ShootProxyDialFailures warning"}},
		{"one of thirty targets does not answer", changes{dialFailures("timeout"): "0+1x79"}, nil},
		{"other CIDRs", changes{dialFailures("outside_cidrs"): someLater}, []string{"ShootProxyDestinationsRefused warning"}},
		{"one connection outside of the CIDRs", changes{dialFailures("outside_cidrs"): "0+0x20 1+0x58"}, nil},

		{"nearly too many connections", changes{sidecar("proxy_client_connections_active"): "16000" + always}, []string{"ShootProxyConnectionLimit warning"}},
		{
			"too many connections",
			changes{sidecar("proxy_client_connections_active"): "16384" + always, dialFailures("max_connections"): "0+2x79"},
			[]string{"ShootProxyConnectionLimit critical"},
		},
		{"too many dials", changes{dialFailures("max_dials"): someLater}, []string{"ShootProxyDialLimit warning"}},
		{"buffers nearly full", changes{sidecar("proxy_client_buffered_bytes"): "260000000" + always}, []string{"ShootProxyBufferNearlyFull warning"}},
		{"buffers full for a minute", changes{sidecar("proxy_client_buffered_bytes"): "0+0x20 260000000 260000000 0+0x56"}, nil},
		{"slow readers", changes{closes("slow_reader"): someLater}, []string{"ShootProxySlowReaders warning"}},
		{"tunnels break", changes{closes("tunnel_broken"): someLater}, []string{"ShootProxyTunnelsBreak warning"}},

		{"CA expires in three days", changes{certificate("expiry", "ca", ""): "300000" + always}, []string{"ShootProxyCertificateExpires warning"}},
		{"server's certificate expired", changes{certificate("expiry", "server", "b:8090"): "-10" + always}, []string{"ShootProxyCertificateExpires critical"}},
		{"client's certificate of a day, with half of it left", changes{certificate("expiry", "client", ""): "43200" + always, certificate("not_before", "client", ""): "-43200" + always}, nil},
		{
			"client's certificate of a day, with a fifth of it left",
			changes{certificate("expiry", "client", ""): "18000" + always, certificate("not_before", "client", ""): "-68400" + always},
			[]string{"ShootProxyCertificateExpires warning"},
		},

		{"sidecar down", changes{series("up", sidecarLabels, nil): zeroLater}, []string{"ShootProxySidecarDown warning"}},
		{"labelled pod without sidecar", changes{
			`kube_pod_labels{namespace="app",pod="app-0",label_shoot_proxy_io_inject="true",job="kube-state-metrics"}`: "1" + always,
			`kube_pod_status_phase{namespace="app",pod="app-0",phase="Running",job="kube-state-metrics"}`:              "1" + always,
		}, []string{"ShootProxySidecarMissing warning"}},
		{"labelled pod with a sidecar in the classic order", changes{
			`kube_pod_labels{namespace="app",pod="app-0",label_shoot_proxy_io_inject="true",job="kube-state-metrics"}`: "1" + always,
			`kube_pod_status_phase{namespace="app",pod="app-0",phase="Running",job="kube-state-metrics"}`:              "1" + always,
			`kube_pod_container_info{namespace="app",pod="app-0",container="proxy-client",job="kube-state-metrics"}`:   "1" + always,
		}, nil},
	}
}

func webhookScenarios() []scenario {
	refused := func(reason string) string {
		return webhook("requests_total", "decision=refuse", "reason="+reason)
	}
	const rejections = `apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="inject.shoot-proxy.io",operation="CREATE",rejection_code="0",type="admit",instance="10.0.0.1:6443",job="apiserver"}`
	type changes = map[string]string
	return []scenario{
		{"webhook down", changes{webhook("config_valid"): "1+0x20"}, []string{"ShootProxyWebhookDown critical"}},
		{"kube-apiserver does not reach the webhook", changes{rejections: "0+0x20 0+1x58"}, []string{"ShootProxyWebhookUnreachable critical"}},
		{"kube-apiserver did not reach it once", changes{rejections: "0+0x20 1+0x58"}, nil},
		{"sources cannot be read", changes{refused("unavailable"): "0+0x20 0+1x58"}, []string{"ShootProxyWebhookUnavailable critical"}},
		{"pods are refused", changes{refused("bad_config"): "0+0x10 0+1x68"}, []string{"ShootProxyWebhookRefuses warning"}},
		{"one pod is refused", changes{refused("locked"): "0+0x20 1+0x58"}, nil},
		{"configuration invalid", changes{webhook("config_valid"): zeroLater}, []string{"ShootProxyWebhookConfigInvalid warning"}},
		{
			"no certificate",
			changes{webhook("certificate_expiry_timestamp_seconds"): "0" + always, webhook("certificate_not_before_timestamp_seconds"): "0" + always},
			[]string{"ShootProxyWebhookNoCertificate critical"},
		},
		{"certificate expires in three days", changes{webhook("certificate_expiry_timestamp_seconds"): "300000" + always, webhook("certificate_not_before_timestamp_seconds"): "-31236000" + always}, []string{"ShootProxyWebhookCertificateExpires warning"}},
		{"certificate expires in an hour", changes{webhook("certificate_expiry_timestamp_seconds"): "6000" + always, webhook("certificate_not_before_timestamp_seconds"): "-31530000" + always}, []string{"ShootProxyWebhookCertificateExpires critical"}},
		{"answers are slow", changes{
			webhook("request_duration_seconds_bucket", "le=0.005"): "0+1x79", webhook("request_duration_seconds_bucket", "le=1"): "0+1x79",
		}, []string{"ShootProxyWebhookSlow warning"}},
	}
}

func exitScenarios() []scenario {
	type changes = map[string]string
	return []scenario{
		{"exit down", changes{exit("build_info", "version=0.1.0"): "1+0x20"}, []string{"ShootProxyExitDown critical"}},
		{"policy cannot be used", changes{exit("policy_ok"): zeroLater}, []string{"ShootProxyExitPolicyInvalid warning"}},
		{"policy could not be used for a minute", changes{exit("policy_ok"): zeroBriefly}, nil},
		{"TLS files cannot be used", changes{exit("certificates_ok"): zeroLater}, []string{"ShootProxyExitCertificatesInvalid warning"}},
		{"exit's certificate expires in three days", changes{exit("certificate_expiry_timestamp_seconds", "role=server"): "300000" + always}, []string{"ShootProxyExitCertificateExpires warning"}},
		{"CA of the clients expired", changes{exit("certificate_expiry_timestamp_seconds", "role=ca"): "-10" + always}, []string{"ShootProxyExitCertificateExpires critical"}},
		{"too many streams", changes{exit("refused_total", "error=connection_limit_reached"): someLater}, []string{"ShootProxyExitLimit warning"}},
		{"too many connections of clients", changes{exit("connections_total", "result=limit"): someLater}, []string{"ShootProxyExitLimit warning"}},
		{"too many connections of clients once", changes{exit("connections_total", "result=limit"): "0+0x20 1+0x58"}, nil},
		{"too many streams once", changes{exit("refused_total", "error=connection_limit_reached"): "0+0x20 1+0x58"}, nil},
		{"targets refuse", changes{exit("refused_total", "error=connection_refused"): "0+30x79"}, nil},
		{"a forbidden port", changes{exit("refused_total", "error=http_request_denied"): someLater}, []string{"ShootProxyExitRefuses warning"}},
		{"a forbidden address", changes{exit("refused_total", "error=destination_ip_prohibited"): someLater}, []string{"ShootProxyExitRefuses warning"}},
		{"a forbidden port once", changes{exit("refused_total", "error=http_request_denied"): "0+0x20 3+0x58"}, nil},
		{"foreign clients", changes{exit("connections_total", "result=handshake"): someLater}, []string{"ShootProxyExitHandshakes warning"}},
		{"a few foreign clients", changes{exit("connections_total", "result=handshake"): "0+0x20 5+0x58"}, nil},
	}
}
