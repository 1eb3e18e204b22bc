{{/*
Refuses, before anything is installed, values that go through the schema and cannot work.
*/}}
{{- define "proxy-exit.check" -}}
{{- include "proxy-exit.checkPolicy" .Values.policy -}}
{{- include "proxy-exit.checkPod" .Values -}}
{{- include "proxy-exit.checkLabels" .Values -}}
{{- include "proxy-exit.checkCertificates" .Values.certificates -}}
{{- include "proxy-exit.checkNetwork" .Values -}}
{{- include "proxy-exit.checkResources" (dict "field" "resources" "value" .Values.resources) -}}
{{- $needed := addf 67108864 (mulf 524288 .Values.exit.maxConnections) (mulf 32768 .Values.exit.maxStreams) (include "proxy-exit.size" (dict "field" "exit.totalBuffer" "value" .Values.exit.totalBuffer) | float64) -}}
{{- with dig "limits" "memory" "" .Values.resources -}}
  {{- if lt (include "proxy-exit.quantity" (dict "field" "resources.limits.memory" "value" .) | float64) $needed -}}
    {{- fail (printf "resources.limits.memory %q is less than the %.0fMi that the exit may take: raise it, or lower exit.maxConnections, exit.maxStreams or exit.totalBuffer" (include "proxy-exit.text" .) (divf $needed 1048576 | ceil)) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses what the exit's pod cannot be started with, of all values. */}}
{{- define "proxy-exit.checkPod" -}}
{{- if eq (int .exit.port) (int .exit.healthPort) -}}
  {{- fail (printf "exit.healthPort %d is exit.port too: write another" (int .exit.healthPort)) -}}
{{- end -}}
{{- if and .serviceMonitor.enabled (eq (int .service.port) (int .exit.healthPort)) -}}
  {{- fail (printf "service.port %d is exit.healthPort too, which the Service has for serviceMonitor: write another" (int .service.port)) -}}
{{- end -}}
{{- if gt (int .exit.maxClientStreams) (int .exit.maxStreams) -}}
  {{- fail (printf "exit.maxClientStreams %d is more than exit.maxStreams, %d, which is for all clients: lower the one or raise the other" (int .exit.maxClientStreams) (int .exit.maxStreams)) -}}
{{- end -}}
{{- range $name := list "dialTimeout" "drainTimeout" -}}
  {{- $value := get $.exit $name -}}
  {{- if le (include "proxy-exit.time" (dict "field" (printf "exit.%s" $name) "value" $value) | float64) 0.0 -}}
    {{- fail (printf "exit.%s %q is not positive: write a duration above zero, such as 5s" $name $value) -}}
  {{- end -}}
{{- end -}}
{{- if ge (include "proxy-exit.time" (dict "field" "exit.drainTimeout" "value" .exit.drainTimeout) | float64) (float64 .exit.terminationGracePeriodSeconds) -}}
  {{- fail (printf "exit.drainTimeout %q is not less than exit.terminationGracePeriodSeconds, %d: lower the one or raise the other" .exit.drainTimeout (int .exit.terminationGracePeriodSeconds)) -}}
{{- end -}}
{{- $given := list "listen-address" "health-address" "tls-cert" "tls-key" "client-ca" "policy" "dial-timeout" "drain-timeout" "max-connections" "max-streams" "max-client-streams" "total-buffer" "log-format" "log-level" -}}
{{- range .extraArgs -}}
  {{- $flag := regexReplaceAll "=.*$" (trimPrefix "--" .) "" -}}
  {{- if has $flag $given -}}
    {{- fail (printf "extraArgs %q is given already: the chart or an earlier element gives --%s" . $flag) -}}
  {{- end -}}
  {{- $given = append $given $flag -}}
{{- end -}}
{{- $names := list -}}
{{- range .extraEnv -}}
  {{- if has .name $names -}}
    {{- fail (printf "extraEnv %q is there twice: write it once" .name) -}}
  {{- end -}}
  {{- $names = append $names .name -}}
{{- end -}}
{{- with .service.clusterIP -}}
  {{- if not (include "proxy-exit.bits" .) -}}
    {{- fail (printf "service.clusterIP %q is not an IP address: write a free one of the cluster's Service range" .) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses labels that are there already, of all values. */}}
{{- define "proxy-exit.checkLabels" -}}
{{- $own := "^(app[.]kubernetes[.]io/(name|instance|component|version|managed-by)|helm[.]sh/chart|shoot-proxy[.]io/.*)$" -}}
{{- range $field, $labels := dict "commonLabels" .commonLabels "podLabels" .podLabels "serviceMonitor.labels" .serviceMonitor.labels "prometheusRule.labels" .prometheusRule.labels -}}
  {{- range $key, $_ := $labels -}}
    {{- if regexMatch $own $key -}}
      {{- fail (printf "%s %q is a label of the chart's own: leave it out" $field $key) -}}
    {{- end -}}
    {{- if and (ne $field "commonLabels") (hasKey $.commonLabels $key) -}}
      {{- fail (printf "%s %q is in commonLabels too: write it once" $field $key) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses certificates that cannot be, of the section certificates. The times are those of
cert-manager (pkg/apis/certmanager/v1, MinimumCertificateDuration and MinimumRenewBefore). */}}
{{- define "proxy-exit.checkCertificates" -}}
{{- if and .clientCA.secret .clientCA.configMap -}}
  {{- fail (printf "certificates.clientCA.configMap %q is set beside secret, and the CA can be in one of the two: leave one out" .clientCA.configMap) -}}
{{- end -}}
{{- $duration := include "proxy-exit.time" (dict "field" "certificates.certManager.duration" "value" .certManager.duration) | float64 -}}
{{- $renewBefore := include "proxy-exit.time" (dict "field" "certificates.certManager.renewBefore" "value" .certManager.renewBefore) | float64 -}}
{{- if lt $duration 3600.0 -}}
  {{- fail (printf "certificates.certManager.duration %q is less than 1h: raise it" .certManager.duration) -}}
{{- end -}}
{{- if lt $renewBefore 300.0 -}}
  {{- fail (printf "certificates.certManager.renewBefore %q is less than 5m: raise it" .certManager.renewBefore) -}}
{{- end -}}
{{- if ge $renewBefore $duration -}}
  {{- fail (printf "certificates.certManager.renewBefore %q is not less than certificates.certManager.duration %q: lower the one or raise the other" .certManager.renewBefore .certManager.duration) -}}
{{- end -}}
{{- end -}}

{{/* Refuses policies of the network by which something would not work, of all values. */}}
{{- define "proxy-exit.checkNetwork" -}}
{{- if and .serviceMonitor.enabled .networkPolicy.enabled (not .networkPolicy.scrapers) -}}
  {{- fail "serviceMonitor.enabled needs networkPolicy.scrapers: write which pods read the metrics, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- if .agentPolicy.enabled -}}
  {{- if not .agentPolicy.podLabels -}}
    {{- fail "agentPolicy.podLabels is empty, and the policy would be for every pod of the namespace: write the agents' labels, such as {k8s-app: konnectivity-agent}" -}}
  {{- end -}}
  {{- if not .agentPolicy.proxyServers -}}
    {{- fail "agentPolicy.proxyServers is empty, and no agent would reach its proxy-server: write rules of egress, such as [{to: [{ipBlock: {cidr: 203.0.113.7/32}}], ports: [{port: 8132, protocol: TCP}]}]" -}}
  {{- end -}}
  {{- range .agentPolicy.kubelets.cidrs -}}
    {{- $_ := include "proxy-exit.network" (dict "field" "agentPolicy.kubelets.cidrs" "value" .) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
