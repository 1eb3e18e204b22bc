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
{{- include "proxy-client.checkCertificate" .Values.certificates.certManager -}}
{{- end -}}

{{/* Refuses times that cert-manager refuses (pkg/apis/certmanager/v1, MinimumCertificateDuration
and MinimumRenewBefore). */}}
{{- define "proxy-client.checkCertificate" -}}
{{- $duration := include "proxy-client.seconds" .duration | int64 -}}
{{- $renewBefore := include "proxy-client.seconds" .renewBefore | int64 -}}
{{- if lt $duration 3600 -}}
  {{- fail (printf "certificates.certManager.duration %q is less than 1h: raise it" .duration) -}}
{{- end -}}
{{- if lt $renewBefore 300 -}}
  {{- fail (printf "certificates.certManager.renewBefore %q is less than 5m: raise it" .renewBefore) -}}
{{- end -}}
{{- if ge $renewBefore $duration -}}
  {{- fail (printf "certificates.certManager.renewBefore %q is not less than certificates.certManager.duration %q: lower the one or raise the other" .renewBefore .duration) -}}
{{- end -}}
{{- end -}}
