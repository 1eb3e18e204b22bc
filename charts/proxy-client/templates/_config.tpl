{{/*
Refuses what the webhook would refuse to start with, in config of the values: what the schema
cannot say. The rules are those of webhook/validate.go, internal/options and internal/cidr;
test/helm compares both.
*/}}
{{- define "proxy-client.checkConfig" -}}
{{- $config := .Values.config -}}
{{- $shoot := list -}}
{{- range $name := list "podCIDRs" "serviceCIDRs" "nodeCIDRs" -}}
  {{- $field := printf "config.shoot.%s" $name -}}
  {{- range dig "shoot" $name list $config -}}
    {{- $shoot = append $shoot (dict "field" $field "value" . "network" (include "proxy-client.network" (dict "field" $field "value" .))) -}}
  {{- end -}}
{{- end -}}
{{- $exclude := list -}}
{{- range dig "excludeCIDRs" list $config -}}
  {{- $exclude = append $exclude (dict "value" . "network" (include "proxy-client.network" (dict "field" "config.excludeCIDRs" "value" .))) -}}
{{- end -}}
{{- range dig "policy" "seedCIDRs" list $config -}}
  {{- $_ := include "proxy-client.network" (dict "field" "config.policy.seedCIDRs" "value" . "hostBits" true) -}}
{{- end -}}
{{- include "proxy-client.checkShoot" $shoot -}}
{{- if not $shoot -}}
  {{- /* Somebody else says where the shoot is. The webhook takes an address of nobody's for it. */ -}}
  {{- $shoot = list (dict "field" "config.shoot.podCIDRs" "value" "192.0.2.0/24" "network" (include "proxy-client.network" (dict "field" "" "value" "192.0.2.0/24"))) -}}
{{- end -}}
{{- include "proxy-client.checkExclusions" (dict "shoot" $shoot "exclude" $exclude) -}}
{{- include "proxy-client.checkSettings" $config -}}
{{- include "proxy-client.checkPorts" (dict "ports" (dig "excludePorts" list $config) "proxyPort" (include "proxy-client.proxyPort" $config)) -}}
{{- include "proxy-client.checkServers" (dict "addresses" (dig "proxyServer" "addresses" list $config) "shoot" $shoot "exclude" $exclude) -}}
{{- with dig "proxyServer" "serverName" "" $config -}}
  {{- with include "proxy-client.hostProblem" (trim .) -}}
    {{- fail (printf "config.proxyServer.serverName %q %s" (dig "proxyServer" "serverName" "" $config) .) -}}
  {{- end -}}
{{- end -}}
{{- if and (dig "proxyServer" "tls" "caSecret" "" $config) (dig "proxyServer" "tls" "caConfigMap" "" $config) -}}
  {{- fail (printf "config.proxyServer.tls.caConfigMap %q is set beside caSecret, and the CA can be in one of the two: leave one out" (dig "proxyServer" "tls" "caConfigMap" "" $config)) -}}
{{- end -}}
{{- include "proxy-client.checkExit" (dig "exit" dict $config) -}}
{{- include "proxy-client.checkNeeds" $config -}}
{{- include "proxy-client.checkMemory" (dig "sidecar" dict $config) -}}
{{- $redirect := dig "redirect" "resources" dict $config | default dict -}}
{{- include "proxy-client.checkAmounts" (dict "section" "redirect" "resources" $redirect "memory" "64Mi") -}}
{{- with dig "limits" "memory" "" $redirect -}}
  {{- $field := "config.redirect.resources.limits.memory" -}}
  {{- if lt (include "proxy-client.quantity" (dict "field" $field "value" .) | float64 | ceil) 8388608.0 -}}
    {{- fail (printf "%s %q is less than the 8Mi that init-redirect needs: raise it" $field (include "proxy-client.text" .)) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses ranges that no shoot can have, of a list of dicts of field, value and network. */}}
{{- define "proxy-client.checkShoot" -}}
{{- $entries := . -}}
{{- $networks := list -}}
{{- range $entries -}}{{- $networks = append $networks .network -}}{{- end -}}
{{- range $network := include "proxy-client.aggregate" $networks | fromJson | keys | sortAlpha -}}
  {{- $shortest := include "proxy-client.shortest" $network | int -}}
  {{- if lt (int (sub (len $network) 2)) $shortest -}}
    {{- $cidr := include "proxy-client.cidr" $network -}}
    {{- range $entries -}}
      {{- if eq .network $network -}}
        {{- fail (printf "%s %q is shorter than the /%d that is allowed: list only the shoot's own ranges" .field .value $shortest) -}}
      {{- else if hasPrefix $network .network -}}
        {{- fail (printf "%s %q makes %s together with other ranges, which is shorter than the /%d that is allowed: list only the shoot's own ranges" .field .value $cidr $shortest) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range $entries -}}
  {{- $field := .field -}}
  {{- $value := .value -}}
  {{- with include "proxy-client.reserved" .network -}}
    {{- fail (printf "%s %q overlaps %s, which no shoot can own: list only the shoot's own ranges" $field $value .) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses exclusions that leave nothing, of a dict of shoot and exclude. */}}
{{- define "proxy-client.checkExclusions" -}}
{{- $networks := list -}}
{{- $guilty := list -}}
{{- range $excluded := .exclude -}}
  {{- $networks = append $networks .network -}}
  {{- range $.shoot -}}
    {{- if or (hasPrefix .network $excluded.network) (hasPrefix $excluded.network .network) -}}
      {{- $guilty = append $guilty $excluded.value -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $all := include "proxy-client.aggregate" $networks | fromJson | keys -}}
{{- $left := false -}}
{{- range $entry := .shoot -}}
  {{- $covered := false -}}
  {{- range $all -}}{{- if hasPrefix . $entry.network -}}{{- $covered = true -}}{{- end -}}{{- end -}}
  {{- if not $covered -}}{{- $left = true -}}{{- end -}}
{{- end -}}
{{- if not $left -}}
  {{- $first := first .shoot -}}
  {{- fail (printf "config.excludeCIDRs %q leaves nothing of %s %q: exclude less, or correct the shoot's ranges" (join "," (uniq $guilty)) $first.field $first.value) -}}
{{- end -}}
{{- end -}}

{{/* The lists of the shoot's CIDRs of which the exclusions leave nothing, of the config, as a
JSON list. Such a list changes nothing. */}}
{{- define "proxy-client.emptyLists" -}}
{{- $networks := list -}}
{{- range dig "excludeCIDRs" list . -}}
  {{- $networks = append $networks (include "proxy-client.network" (dict "field" "config.excludeCIDRs" "value" .)) -}}
{{- end -}}
{{- $excluded := include "proxy-client.aggregate" $networks | fromJson | keys -}}
{{- $empty := list -}}
{{- range $name, $values := dig "shoot" dict . -}}
  {{- $left := false -}}
  {{- range $values -}}
    {{- $network := include "proxy-client.network" (dict "field" "config.shoot" "value" .) -}}
    {{- $covered := false -}}
    {{- range $excluded -}}{{- if hasPrefix . $network -}}{{- $covered = true -}}{{- end -}}{{- end -}}
    {{- if not $covered -}}{{- $left = true -}}{{- end -}}
  {{- end -}}
  {{- if and $values (not $left) -}}{{- $empty = append $empty (printf "config.shoot.%s" $name) -}}{{- end -}}
{{- end -}}
{{- toJson $empty -}}
{{- end -}}

{{/* Refuses what are no destination ports, of a dict of ports and proxyPort. */}}
{{- define "proxy-client.checkPorts" -}}
{{- range .ports -}}
  {{- $text := include "proxy-client.text" . -}}
  {{- $ends := splitList "-" (trim $text) -}}
  {{- range $ends -}}
    {{- if or (gt (len $ends) 2) (not (include "proxy-client.isPort" .)) -}}
      {{- fail (printf "config.excludePorts %q is not a port: ports are whole numbers from 1 to 65535, and a range is written 30000-32767" $text) -}}
    {{- end -}}
  {{- end -}}
  {{- $first := first $ends | float64 -}}
  {{- $last := last $ends | float64 -}}
  {{- if gt $first $last -}}
    {{- fail (printf "config.excludePorts %q is not a port: a range is written with the lower one first, such as 30000-32767" $text) -}}
  {{- end -}}
  {{- if and (le $first (float64 $.proxyPort)) (ge $last (float64 $.proxyPort)) -}}
    {{- fail (printf "config.excludePorts %q is, or has, the port %s where redirected connections arrive: exclude others" $text $.proxyPort) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Says true of a text that is a port, 1 to 65535. */}}
{{- define "proxy-client.isPort" -}}
{{- if regexMatch "^0*(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})$" . -}}true{{- end -}}
{{- end -}}

{{/* Refuses proxy-servers that cannot be reached, of a dict of addresses, shoot and exclude. */}}
{{- define "proxy-client.checkServers" -}}
{{- $seen := dict -}}
{{- range $value := .addresses -}}
  {{- $said := printf "config.proxyServer.addresses %q" $value -}}
  {{- $text := trim $value -}}
  {{- if hasPrefix "unix:" $text -}}
    {{- fail (printf "%s is a Unix socket, which no pod can reach: write host:port" $said) -}}
  {{- end -}}
  {{- $endpoint := include "proxy-client.endpoint" (dict "said" $said "text" $text "example" "vpn-proxy-server:8090 or [fd00::1]:8090") | fromJson -}}
  {{- $bits := $endpoint.bits -}}
  {{- $key := lower $endpoint.key -}}
  {{- if hasKey $seen $key -}}
    {{- fail (printf "%s is the same server as %q: write it once" $said (get $seen $key)) -}}
  {{- end -}}
  {{- $_ := set $seen $key $value -}}
  {{- $excluded := false -}}
  {{- range $.exclude -}}{{- if and $bits (hasPrefix .network $bits) -}}{{- $excluded = true -}}{{- end -}}{{- end -}}
  {{- range $.shoot -}}
    {{- if and $bits (hasPrefix .network $bits) (not $excluded) -}}
      {{- fail (printf "%s lies inside of %s %q, so the tunnel would lead into itself: correct the range, or add the address to config.excludeCIDRs" $said .field .value) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* What a text says that is host:port, of a dict of said, text and example: a JSON object with
the bits of an address, and a key that is the same for the same endpoint. */}}
{{- define "proxy-client.endpoint" -}}
{{- $text := .text -}}
{{- $host := "" -}}
{{- with regexFind "^[[][^][]*:[^][]*[]]:" $text -}}
  {{- $host = . | trimPrefix "[" | trimSuffix "]:" -}}
  {{- $text = trimPrefix . $text -}}
{{- else -}}
  {{- $host = regexFind "^[^][:/]*:" $text -}}
  {{- $text = trimPrefix $host $text -}}
  {{- $host = trimSuffix ":" $host -}}
{{- end -}}
{{- $port := regexReplaceAll "^0+" $text "" -}}
{{- if or (not $host) (not (include "proxy-client.isPort" $port)) -}}
  {{- fail (printf "%s is not host:port: write it like %s, with a port from 1 to 65535" .said .example) -}}
{{- end -}}
{{- $said := .said -}}
{{- with include "proxy-client.hostProblem" $host -}}
  {{- fail (printf "%s has a host that %s" $said .) -}}
{{- end -}}
{{- $zone := regexFind "%.*$" $host -}}
{{- $bits := include "proxy-client.bits" (trimSuffix $zone $host) -}}
{{- if hasPrefix (include "proxy-client.mapped" $) $bits -}}
  {{- $bits = printf "4:%s" (trimPrefix (include "proxy-client.mapped" $) $bits) -}}
{{- end -}}
{{- toJson (dict "bits" $bits "key" (printf "%s%s %s" (default $host $bits) $zone $port)) -}}
{{- end -}}

{{/* Refuses buffers and memory that do not go together, of the section sidecar. */}}
{{- define "proxy-client.checkMemory" -}}
{{- $text := include "proxy-client.text" (dig "totalBuffer" "" .) | default "256MiB" -}}
{{- $buffer := include "proxy-client.size" (dict "field" "config.sidecar.totalBuffer" "value" $text) | float64 -}}
{{- $one := include "proxy-client.text" (dig "connectionBuffer" "" .) | default "16MiB" -}}
{{- $least := include "proxy-client.size" (dict "field" "config.sidecar.connectionBuffer" "value" $one) | float64 -}}
{{- if lt $least 262144.0 -}}
  {{- fail (printf "config.sidecar.connectionBuffer %q is too small to hold anything back: write 256KiB or more" $one) -}}
{{- end -}}
{{- if lt $buffer $least -}}
  {{- fail (printf "config.sidecar.totalBuffer %q is less than one connection may hold, %s: raise it" $text $one) -}}
{{- end -}}
{{- $resources := default dict .resources -}}
{{- include "proxy-client.checkAmounts" (dict "section" "sidecar" "resources" $resources "memory" (maxf 33554432.0 (mulf 2 $buffer) | printf "%.0f")) -}}
{{- with dig "limits" "memory" "" $resources -}}
  {{- $field := "config.sidecar.resources.limits.memory" -}}
  {{- $amount := include "proxy-client.quantity" (dict "field" $field "value" .) | float64 | ceil -}}
  {{- if lt $amount (mulf 2 $buffer) -}}
    {{- fail (printf "%s %q is less than twice config.sidecar.totalBuffer, which is %s: raise it, or lower that" $field (include "proxy-client.text" .) $text) -}}
  {{- end -}}
  {{- if lt $amount 33554432.0 -}}
    {{- fail (printf "%s %q is less than the 32Mi that proxy-client needs with few connections: raise it" $field (include "proxy-client.text" .)) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses amounts that are none, and requests above limits: of a dict of section, its
resources, and the limit of memory where none is said. */}}
{{- define "proxy-client.checkAmounts" -}}
{{- $said := dict "limits" (dict "memory" .memory) "requests" dict -}}
{{- range $kind, $amounts := $said -}}
  {{- range $name, $value := dig $kind dict $.resources -}}
    {{- if ne (toString $value) "" -}}{{- $_ := set $amounts $name $value -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- include "proxy-client.checkResources" (dict "field" (printf "config.%s.resources" .section) "value" $said) -}}
{{- end -}}
