{{/*
Refuses settings of an exit that the webhook would refuse, of the section exit: webhook/exit.go
and internal/options have the rules.
*/}}
{{- define "proxy-client.checkExit" -}}
{{- $seen := dict -}}
{{- range $value := dig "addresses" list . -}}
  {{- $said := printf "config.exit.addresses %q" $value -}}
  {{- $key := (include "proxy-client.endpoint" (dict "said" $said "text" (trim $value) "example" "10.250.0.10:9443 or [fd00::1]:9443") | fromJson).key -}}
  {{- if hasKey $seen $key -}}
    {{- fail (printf "%s is given twice: write it once" $said) -}}
  {{- end -}}
  {{- $_ := set $seen $key true -}}
{{- end -}}
{{- with dig "serverName" "" . -}}
  {{- $name := . -}}
  {{- with include "proxy-client.hostProblem" (trim .) -}}
    {{- fail (printf "config.exit.serverName %q %s" $name .) -}}
  {{- end -}}
{{- end -}}
{{- if and (dig "tls" "caSecret" "" .) (dig "tls" "caConfigMap" "" .) -}}
  {{- fail (printf "config.exit.tls.caConfigMap %q is set beside caSecret, and the CA can be in one of the two: leave one out" (dig "tls" "caConfigMap" "" .)) -}}
{{- end -}}
{{- end -}}
