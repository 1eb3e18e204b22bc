{{/*
Refuses, before anything is installed, values that go through the schema and cannot work.
*/}}
{{- define "proxy-client.check" -}}
{{- include "proxy-client.checkConfig" . -}}
{{- include "proxy-client.checkResources" (dict "field" "resources" "value" .Values.resources) -}}
{{- with dig "limits" "memory" "" .Values.resources -}}
  {{- if lt (include "proxy-client.quantity" (dict "field" "resources.limits.memory" "value" .) | float64) 33554432.0 -}}
    {{- fail (printf "resources.limits.memory %q is less than the 32Mi that the webhook takes: raise it" (include "proxy-client.text" .)) -}}
  {{- end -}}
{{- end -}}
{{- include "proxy-client.checkPod" .Values -}}
{{- include "proxy-client.checkCertificate" .Values.certificates.certManager -}}
{{- end -}}

{{/* Refuses what the webhook's pod cannot be started with, of all values. */}}
{{- define "proxy-client.checkPod" -}}
{{- if eq (int .webhook.port) (int .webhook.healthPort) -}}
  {{- fail (printf "webhook.healthPort %d is webhook.port too: write another" (int .webhook.healthPort)) -}}
{{- end -}}
{{- range $name := list "port" "healthPort" -}}
  {{- if and $.hostNetwork (lt (int (get $.webhook $name)) 1024) -}}
    {{- fail (printf "webhook.%s %d needs a privilege in the network of the node, hostNetwork, that the webhook does not have: write 1024 or more" $name (int (get $.webhook $name))) -}}
  {{- end -}}
{{- end -}}
{{- if and (eq .dnsPolicy "ClusterFirstWithHostNet") (not .hostNetwork) -}}
  {{- fail "dnsPolicy \"ClusterFirstWithHostNet\" is for hostNetwork: set that, or leave this out" -}}
{{- end -}}
{{- $given := list "config" "proxy-client-image" "init-redirect-image" "listen-address" "health-address" "cert-dir" "log-format" "log-level"
  "manage-certificates" "namespace" "service-name" "secret-name" "webhook-name" -}}
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
{{- include "proxy-client.checkLabels" . -}}
{{- end -}}

{{/* Refuses labels that are there already, of all values. */}}
{{- define "proxy-client.checkLabels" -}}
{{- $own := "^(app[.]kubernetes[.]io/(name|instance|component|version|managed-by)|helm[.]sh/chart|shoot-proxy[.]io/.*)$" -}}
{{- range $field, $labels := dict "commonLabels" .commonLabels "podLabels" .podLabels "serviceMonitor.labels" .serviceMonitor.labels "podMonitor.labels" .podMonitor.labels "dashboard.labels" .dashboard.labels -}}
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

{{/* Refuses times that cert-manager refuses (pkg/apis/certmanager/v1, MinimumCertificateDuration
and MinimumRenewBefore). */}}
{{- define "proxy-client.checkCertificate" -}}
{{- $duration := include "proxy-client.time" (dict "field" "certificates.certManager.duration" "value" .duration) | float64 -}}
{{- $renewBefore := include "proxy-client.time" (dict "field" "certificates.certManager.renewBefore" "value" .renewBefore) | float64 -}}
{{- if lt $duration 3600.0 -}}
  {{- fail (printf "certificates.certManager.duration %q is less than 1h: raise it" .duration) -}}
{{- end -}}
{{- if lt $renewBefore 300.0 -}}
  {{- fail (printf "certificates.certManager.renewBefore %q is less than 5m: raise it" .renewBefore) -}}
{{- end -}}
{{- if ge $renewBefore $duration -}}
  {{- fail (printf "certificates.certManager.renewBefore %q is not less than certificates.certManager.duration %q: lower the one or raise the other" .renewBefore .duration) -}}
{{- end -}}
{{- end -}}
