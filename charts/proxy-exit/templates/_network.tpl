{{/* A port of the policy as one of a NetworkPolicy. */}}
{{- define "proxy-exit.networkPort" -}}
{{- $ends := splitList "-" (include "proxy-exit.text" . | trim) -}}
{port: {{ first $ends | float64 | int }}, {{ if gt (len $ends) 1 }}endPort: {{ last $ends | float64 | int }}, {{ end }}protocol: TCP}
{{- end -}}

{{/* The way to the DNS servers. */}}
{{- define "proxy-exit.dnsEgress" -}}
- to:
    {{- toYaml .Values.networkPolicy.dns.to | nindent 4 }}
  ports:
    {{- range .Values.networkPolicy.dns.ports }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}
