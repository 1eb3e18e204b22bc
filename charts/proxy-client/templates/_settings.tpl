{{/*
Refuses settings of the two containers that the programs would refuse, in config of the values:
internal/options has the rules, and test/helm compares both.
*/}}
{{- define "proxy-client.checkSettings" -}}
{{- $sidecar := dig "sidecar" dict . -}}
{{- $redirect := dig "redirect" dict . -}}
{{- range $name := list "dialTimeout" "halfCloseTimeout" "drainTimeout" -}}
  {{- with dig $name "" $sidecar | include "proxy-client.text" -}}
    {{- if le (include "proxy-client.time" (dict "field" (printf "config.sidecar.%s" $name) "value" .) | float64) 0.0 -}}
      {{- fail (printf "config.sidecar.%s %q is not positive: write a duration above zero, such as 8s" $name .) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- with dig "idleTimeout" "" $sidecar | include "proxy-client.text" -}}
  {{- $seconds := include "proxy-client.time" (dict "field" "config.sidecar.idleTimeout" "value" .) | float64 -}}
  {{- if and (ne $seconds 0.0) (lt $seconds 1.0) -}}
    {{- fail (printf "config.sidecar.idleTimeout %q is less than a second: write a longer duration, such as 1h, or 0 for no limit" .) -}}
  {{- end -}}
{{- end -}}
{{- with dig "serverKeepalive" "" $sidecar | include "proxy-client.text" -}}
  {{- $seconds := include "proxy-client.time" (dict "field" "config.sidecar.serverKeepalive" "value" .) | float64 -}}
  {{- if or (lt $seconds 1.0) (gt $seconds 3600.0) (ne $seconds (floor $seconds)) -}}
    {{- fail (printf "config.sidecar.serverKeepalive %q is not one of the whole seconds from 1s to 1h: write a duration such as 5s" .) -}}
  {{- end -}}
{{- end -}}
{{- range $name := list "maxConnections" "maxDials" -}}
  {{- with dig $name "" $sidecar | include "proxy-client.text" -}}
    {{- if not (regexMatch "^[+]?0*([1-9][0-9]{0,5}|1000000)$" .) -}}
      {{- fail (printf "config.sidecar.%s %q is not a number from 1 to 1000000" $name .) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $health := dig "healthPort" "" $sidecar | include "proxy-client.text" | default "14021" -}}
{{- $proxy := include "proxy-client.proxyPort" . -}}
{{- if not (include "proxy-client.isPort" $health) -}}
  {{- fail (printf "config.sidecar.healthPort %q is not a port: ports go from 1 to 65535" $health) -}}
{{- end -}}
{{- if not (include "proxy-client.isPort" $proxy) -}}
  {{- fail (printf "config.redirect.proxyPort %q is not a port: ports go from 1 to 65535" $proxy) -}}
{{- end -}}
{{- range $field, $port := dict "sidecar.healthPort" $health "redirect.proxyPort" $proxy -}}
  {{- if lt (float64 $port) 1024.0 -}}
    {{- fail (printf "config.%s %q needs a privilege that proxy-client does not have: write a port from 1024 to 65535" $field $port) -}}
  {{- end -}}
  {{- if eq "14000" (regexReplaceAll "^0+" $port "") -}}
    {{- fail (printf "config.%s %q is the port of the status page: write another" $field $port) -}}
  {{- end -}}
{{- end -}}
{{- if eq $proxy (regexReplaceAll "^0+" $health "") -}}
  {{- fail (printf "config.sidecar.healthPort %q is config.redirect.proxyPort too: choose another one" $health) -}}
{{- end -}}
{{- with dig "proxyUID" "" $redirect | include "proxy-client.text" -}}
  {{- if or (not (include "proxy-client.isUID" (trimPrefix "+" .))) (gt (float64 (trimPrefix "+" .)) 2147483647.0) (regexMatch "^[+]?0*(|65534|1337|2102)$" .) -}}
    {{- fail (printf "config.redirect.proxyUID %q is not a uid of proxy-client's own: write one from 1 to 2147483647, such as 14001, but not 1337, 2102 or 65534" .) -}}
  {{- end -}}
{{- end -}}
{{- range dig "excludeUIDs" list . -}}
  {{- if not (include "proxy-client.text" . | trim | include "proxy-client.isUID") -}}
    {{- fail (printf "config.excludeUIDs %q is not a uid: uids are whole numbers from 0 to 4294967294" (include "proxy-client.text" .)) -}}
  {{- end -}}
{{- end -}}
{{- $seen := dict -}}
{{- range $value := dig "proxyServer" "alpnProtocols" list . -}}
  {{- $name := trim $value -}}
  {{- if or (not $name) (gt (len $name) 255) (hasKey $seen $name) -}}
    {{- fail (printf "config.proxyServer.alpnProtocols %q is empty, longer than 255 bytes, or there twice" $value) -}}
  {{- end -}}
  {{- $_ := set $seen $name true -}}
{{- end -}}
{{- end -}}

{{/* redirect.proxyPort of the config, without zeros in front. */}}
{{- define "proxy-client.proxyPort" -}}
{{- $text := dig "redirect" "proxyPort" "" . | include "proxy-client.text" | default "14001" -}}
{{- regexReplaceAll "^[+]?0*" $text "" | default "0" -}}
{{- end -}}

{{/* Says true of a text that is a uid. */}}
{{- define "proxy-client.isUID" -}}
{{- $number := regexReplaceAll "^0+" . "" -}}
{{- if and (regexMatch "^[0-9]+$" .) (le (len $number) 10) -}}
  {{- if le (default "0" $number | float64) 4294967294.0 -}}true{{- end -}}
{{- end -}}
{{- end -}}
