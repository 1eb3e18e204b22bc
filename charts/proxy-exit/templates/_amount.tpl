{{/*
What amounts and times are, for the checks and for GOMEMLIMIT. Each template has a dict of field and
value, and makes a number of it that is text, or fails with the value's name.
*/}}

{{/* A value as it was written. Helm reads 536870912 as a floating-point number. */}}
{{- define "proxy-exit.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) -}}{{- printf "%.0f" . -}}{{- else -}}{{- toString . -}}{{- end -}}
{{- end -}}

{{/* Bytes of a size of the programs', such as 16MiB. */}}
{{- define "proxy-exit.size" -}}
{{- $text := include "proxy-exit.text" .value -}}
{{- if not (regexMatch "^[0-9]+([KMG]iB?)?$" $text) -}}
  {{- fail (printf "%s %q is not a size: write a whole number and its unit, such as 16MiB" .field $text) -}}
{{- end -}}
{{- $bytes := float64 (regexFind "^[0-9]+" $text) -}}
{{- $bytes = mulf $bytes (get (dict "" 1 "K" 1024 "M" 1048576 "G" 1073741824) (regexFind "[KMG]" $text)) -}}
{{- if ge $bytes 9223372036854775807.0 -}}
  {{- fail (printf "%s %q is far out of range" .field $text) -}}
{{- end -}}
{{- printf "%.0f" $bytes -}}
{{- end -}}

{{/* A quantity of Kubernetes', such as 100m, 512Mi or 1e9, of which there has to be some. */}}
{{- define "proxy-exit.quantity" -}}
{{- $text := include "proxy-exit.text" .value -}}
{{- $number := "^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)" -}}
{{- if or (gt (len $text) 32) (not (regexMatch (printf "%s([eE][+-]?[0-9]{1,2}|[numkMGTPE]|[KMGTPE]i)?$" $number) $text)) -}}
  {{- fail (printf "%s %q is not an amount: write one such as %s" .field $text (include "proxy-exit.exampleAmount" .field)) -}}
{{- end -}}
{{- $factor := 1.0 -}}
{{- with regexFind "[A-Za-z]+$" $text -}}
  {{- $factor = get (dict "n" 1e-9 "u" 1e-6 "m" 1e-3 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
    "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976) . -}}
{{- end -}}
{{- $amount := mulf (float64 (regexReplaceAll "[A-Za-z]+$" $text "")) $factor -}}
{{- if le $amount 0.0 -}}
  {{- fail (printf "%s %q is not an amount: write one such as %s" .field $text (include "proxy-exit.exampleAmount" .field)) -}}
{{- end -}}
{{- printf "%g" $amount -}}
{{- end -}}

{{/* Seconds of a duration as Go writes it, such as 1m30s. */}}
{{- define "proxy-exit.time" -}}
{{- $part := "([0-9]+[.]?[0-9]*|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h)" -}}
{{- if regexMatch "^[+-]?0$" .value -}}
  0
{{- else if not (regexMatch (printf "^[+-]?(%s)+$" $part) .value) -}}
  {{- fail (printf "%s %q is not a duration: write a number and its unit, such as 500ms, 8s or 2m" .field .value) -}}
{{- else -}}
  {{- $seconds := 0.0 -}}
  {{- range regexFindAll $part .value -1 -}}
    {{- $unit := regexFind "[^0-9.]+$" . -}}
    {{- $factor := get (dict "ns" 1e-9 "us" 1e-6 "µs" 1e-6 "μs" 1e-6 "ms" 1e-3 "s" 1.0 "m" 60.0 "h" 3600.0) $unit -}}
    {{- $seconds = addf $seconds (mulf (trimSuffix $unit . | float64) $factor) -}}
  {{- end -}}
  {{- if gt $seconds 9223372036.8547758 -}}
    {{- fail (printf "%s %q is longer than a duration can be: write at most 2562047h" .field .value) -}}
  {{- end -}}
  {{- if hasPrefix "-" .value -}}{{- $seconds = mulf -1 $seconds -}}{{- end -}}
  {{- printf "%g" $seconds -}}
{{- end -}}
{{- end -}}

{{/* Refuses amounts that are none, and requests above their limits: of a dict of field and
value, a container's resources. */}}
{{- define "proxy-exit.checkResources" -}}
{{- $field := .field -}}
{{- $all := dict -}}
{{- range $kind := list "requests" "limits" -}}
  {{- range $name, $value := dig $kind dict $.value -}}
    {{- $path := printf "%s.%s.%s" $field $kind $name -}}
    {{- $_ := set $all (printf "%s %s" $kind $name) (include "proxy-exit.quantity" (dict "field" $path "value" $value)) -}}
  {{- end -}}
{{- end -}}
{{- range $name, $value := dig "requests" dict .value -}}
  {{- with get $all (printf "limits %s" $name) -}}
    {{- if gt (float64 (get $all (printf "requests %s" $name))) (float64 .) -}}
      {{- fail (printf "%s.requests.%s %q is more than %s.limits.%s, which is %s: lower the one or raise the other" $field $name (include "proxy-exit.text" $value) $field $name (get $.value.limits $name | include "proxy-exit.text")) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* An amount that would do in a field. */}}
{{- define "proxy-exit.exampleAmount" -}}
{{- if hasSuffix ".cpu" . -}}10m{{- else if contains ".requests." . -}}32Mi{{- else -}}512Mi{{- end -}}
{{- end -}}
