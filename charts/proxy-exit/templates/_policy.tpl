{{/*
Refuses an ExitPolicy that the exit would refuse: what the schema cannot say. The rules are
those of internal/exitpolicy; test/helm compares both.
*/}}
{{- define "proxy-exit.checkPolicy" -}}
{{- range $i, $_ := .rules -}}
  {{- $at := printf "policy.rules[%d]" $i -}}
  {{- range $j, $client := .clients -}}
    {{- include "proxy-exit.checkClient" (dict "field" (printf "%s.clients[%d]" $at $j) "client" $client) -}}
  {{- end -}}
  {{- range .cidrs -}}
    {{- if ne . (trim .) -}}
      {{- fail (printf "%s.cidrs %q is not a CIDR: leave the spaces out" $at .) -}}
    {{- end -}}
    {{- $_ := include "proxy-exit.network" (dict "field" (printf "%s.cidrs" $at) "value" .) -}}
  {{- end -}}
  {{- range $name := .names -}}
    {{- with include "proxy-exit.nameProblem" . -}}
      {{- fail (printf "%s.names %q %s" $at $name .) -}}
    {{- end -}}
  {{- end -}}
  {{- range .ports -}}
    {{- include "proxy-exit.checkPort" (dict "field" (printf "%s.ports" $at) "value" .) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses a selector of clients, of a dict of field and client. */}}
{{- define "proxy-exit.checkClient" -}}
{{- $field := .field -}}
{{- with .client.commonName -}}
  {{- if contains "*" . -}}
    {{- fail (printf "%s.commonName %q is no pattern, as only dnsName and uri can be: write the whole common name" $field .) -}}
  {{- end -}}
{{- end -}}
{{- with .client.dnsName -}}
  {{- if eq . "*" -}}
    {{- fail (printf "%s.dnsName %q selects everything: write a domain behind it, such as *.monitoring.seed" $field .) -}}
  {{- end -}}
  {{- $name := . -}}
  {{- with include "proxy-exit.nameProblem" . -}}
    {{- fail (printf "%s.dnsName %q %s" $field $name .) -}}
  {{- end -}}
{{- end -}}
{{- with .client.uri -}}
  {{- $said := printf "%s.uri %q" $field . -}}
  {{- $prefix := trimSuffix "*" . -}}
  {{- if contains "*" $prefix -}}
    {{- fail (printf "%s has * inside: write it once, at the end" $said) -}}
  {{- end -}}
  {{- $uri := urlParse $prefix -}}
  {{- if or (not $uri.scheme) (not (or $uri.host $uri.opaque)) -}}
    {{- fail (printf "%s is no URI with a scheme and a host: write one such as spiffe://seed/ns/monitoring/*" $said) -}}
  {{- end -}}
  {{- if and (ne . $prefix) (not (or $uri.path $uri.opaque)) -}}
    {{- fail (printf "%s has * in its host: write it behind a / such as spiffe://seed/*" $said) -}}
  {{- end -}}
  {{- if not (or (eq . $prefix) (hasSuffix "/" $prefix) (and $uri.opaque (hasSuffix ":" $prefix))) -}}
    {{- fail (printf "%s has * behind a part of a name, which other names begin with too: write it behind a / such as spiffe://seed/ns/monitoring/* or behind a : such as urn:seed:*" $said) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* What is wrong with a pattern of names; empty where nothing is. */}}
{{- define "proxy-exit.nameProblem" -}}
{{- $name := trimPrefix "*." . | lower -}}
{{- $label := "[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?" -}}
{{- if ne . "*" -}}
  {{- if contains "*" $name -}}
has * elsewhere than as its first label: write a name such as *.svc.cluster.local
  {{- else if hasSuffix "." $name -}}
ends with a dot: leave the dot out
  {{- else if or (gt (len $name) 253) (not (regexMatch (printf "^%s([.]%s)*$" $label $label) $name)) (and (not (hasPrefix "*." .)) (regexMatch "(^|[.])([0-9]+|0x[^.]*)$" $name)) -}}
is no DNS name: write one such as prometheus.monitoring.svc.cluster.local or *.svc.cluster.local
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses what is no port and no range of ports, of a dict of field and value. */}}
{{- define "proxy-exit.checkPort" -}}
{{- $text := include "proxy-exit.text" .value -}}
{{- $ends := splitList "-" $text -}}
{{- $bad := gt (len $ends) 2 -}}
{{- range $ends -}}
  {{- if not (regexMatch "^0*(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})$" .) -}}{{- $bad = true -}}{{- end -}}
{{- end -}}
{{- if and (not $bad) (gt (first $ends | float64) (last $ends | float64)) -}}
  {{- fail (printf "%s %q is backwards: write %s-%s" .field $text (last $ends) (first $ends)) -}}
{{- else if $bad -}}
  {{- fail (printf "%s %q is no port: write a number from 1 to 65535, or a range such as 8000-8999" .field $text) -}}
{{- end -}}
{{- end -}}
