{{/*
What addresses and networks are, for the checks of _config.tpl. A network is written as its
family and its bits, such as 4:01100100 for 100.0.0.0/8, so that whatever lies in it begins
with the same text.
*/}}

{{/* The bits of an IP address, without a zone; empty where it is none. */}}
{{- define "proxy-exit.bits" -}}
{{- $octet := "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])" -}}
{{- $ipv4 := printf "%s([.]%s){3}" $octet $octet -}}
{{- if regexMatch (printf "^%s$" $ipv4) . -}}
4:{{ range splitList "." . }}{{ printf "%08b" (int .) }}{{ end }}
{{- else if contains ":" . -}}
  {{- $text := . -}}
  {{- /* The last 32 bits may be written as IPv4. */ -}}
  {{- with regexFind (printf ":%s$" $ipv4) $text -}}
    {{- $octets := splitList "." (trimPrefix ":" .) -}}
    {{- $hex := printf ":%02x%02x:%02x%02x" (int (index $octets 0)) (int (index $octets 1)) (int (index $octets 2)) (int (index $octets 3)) -}}
    {{- $text = printf "%s%s" (trimSuffix . $text) $hex -}}
  {{- end -}}
  {{- $halves := splitList "::" $text -}}
  {{- $groups := list -}}
  {{- range $i, $half := $halves -}}
    {{- if $i -}}
      {{- $after := ternary (splitList ":" $half) list (ne $half "") -}}
      {{- $zeros := sub 8 (add (len $groups) (len $after)) -}}
      {{- range until (int (max 0 $zeros)) -}}{{- $groups = append $groups "0" -}}{{- end -}}
      {{- if lt $zeros 1 -}}{{- $groups = append $groups "" -}}{{- end -}}
      {{- $groups = concat $groups $after -}}
    {{- else if $half -}}
      {{- $groups = splitList ":" $half -}}
    {{- end -}}
  {{- end -}}
  {{- $bad := or (gt (len $halves) 2) (ne (len $groups) 8) -}}
  {{- range $groups -}}{{- if not (regexMatch "^[0-9A-Fa-f]{1,4}$" .) -}}{{- $bad = true -}}{{- end -}}{{- end -}}
  {{- if not $bad -}}
6:{{ range $groups }}{{ printf "%016b" (int (printf "0x%s" .)) }}{{ end }}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* ::ffff:0:0/96, where IPv4 is written as IPv6. */}}
{{- define "proxy-exit.mapped" -}}6:{{ repeat 80 "0" }}{{ repeat 16 "1" }}{{- end -}}

{{/* The CIDR that bits stand for. */}}
{{- define "proxy-exit.cidr" -}}
{{- $length := sub (len .) 2 -}}
{{- if hasPrefix "4:" . -}}
  {{- $all := printf "%s%s" (trimPrefix "4:" .) (repeat (int (sub 32 $length)) "0") -}}
  {{- $octets := list -}}
  {{- range regexFindAll "[01]{8}" $all -1 -}}{{- $octets = append $octets (int (printf "0b%s" .)) -}}{{- end -}}
  {{- join "." $octets -}}/{{ $length }}
{{- else -}}
  {{- $all := printf "%s%s" (trimPrefix "6:" .) (repeat (int (sub 128 $length)) "0") -}}
  {{- $groups := list -}}
  {{- range regexFindAll "[01]{16}" $all -1 -}}{{- $groups = append $groups (printf "%x" (int (printf "0b%s" .))) -}}{{- end -}}
  {{- regexReplaceAll "(^0|:0)(:0)*$" (join ":" $groups) "::" -}}/{{ $length }}
{{- end -}}
{{- end -}}

{{/* What a network overlaps that means something else on every host (RFC 6890); empty where
nothing. */}}
{{- define "proxy-exit.reserved" -}}
{{- $network := . -}}
{{- $reserved := dict "4:01111111" "loopback addresses" "4:1010100111111110" "link-local addresses" "4:1110" "multicast addresses" "4:00000000" "unspecified addresses" -}}
{{- $reserved = merge $reserved (dict (printf "4:%s" (repeat 32 "1")) "the broadcast address" (printf "6:%s1" (repeat 127 "0")) "the loopback address"
  "6:1111111010" "link-local addresses" "6:11111111" "multicast addresses" (include "proxy-exit.mapped" .) "IPv4 addresses written as IPv6"
  (printf "6:%s" (repeat 128 "0")) "the unspecified address") -}}
{{- range $taken, $what := $reserved -}}
  {{- if or (hasPrefix $taken $network) (hasPrefix $network $taken) -}}
    {{- printf "%s (%s)" $what (include "proxy-exit.cidr" $taken) -}}
    {{- break -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* The least length of a range of a network's family. */}}
{{- define "proxy-exit.shortest" -}}{{- ternary 8 16 (hasPrefix "4:" .) -}}{{- end -}}

{{/* Advice to write a network, if that would not be refused too. */}}
{{- define "proxy-exit.instead" -}}
{{- if or (include "proxy-exit.reserved" .) (lt (int (sub (len .) 2)) (include "proxy-exit.shortest" . | int)) -}}
write an address and a length, such as 10.0.0.0/8 or fd00::/48
{{- else -}}
write {{ include "proxy-exit.cidr" . }}
{{- end -}}
{{- end -}}

{{/* The bits of a network, of a dict of field and value. Host bits matter unless hostBits
is true. */}}
{{- define "proxy-exit.network" -}}
{{- $said := printf "%s %q" .field .value -}}
{{- $value := ternary .value (trim .value) (default false .hostBits) -}}
{{- $address := regexReplaceAll "/.*$" $value "" -}}
{{- $length := trimPrefix $address $value -}}
{{- $bits := include "proxy-exit.bits" $address -}}
{{- if and $bits (not $length) -}}
  {{- fail (printf "%s is an address, not a CIDR: %s" $said (include "proxy-exit.instead" $bits)) -}}
{{- end -}}
{{- if or (not $bits) (not (regexMatch "^/(0|[1-9][0-9]{0,2})$" $length)) -}}
  {{- fail (printf "%s is not a CIDR: write an address and a length, such as 10.0.0.0/8 or fd00::/48" $said) -}}
{{- end -}}
{{- $n := int (trimPrefix "/" $length) -}}
{{- if gt $n (int (sub (len $bits) 2)) -}}
  {{- fail (printf "%s is not a CIDR: its length is more than %d" $said (sub (len $bits) 2)) -}}
{{- end -}}
{{- $network := substr 0 (int (add 2 $n)) $bits -}}
{{- if not .hostBits -}}
  {{- if hasPrefix (include "proxy-exit.mapped" .) $bits -}}
    {{- fail (printf "%s is an IPv4 range written as IPv6: write the IPv4 range itself" $said) -}}
  {{- end -}}
  {{- if contains "1" (trimPrefix $network $bits) -}}
    {{- fail (printf "%s has host bits set: %s" $said (include "proxy-exit.instead" $network)) -}}
  {{- end -}}
{{- end -}}
{{- $network -}}
{{- end -}}

{{/* The networks of a list, and whatever halves of them make, as the keys of a JSON object. */}}
{{- define "proxy-exit.aggregate" -}}
{{- $all := dict -}}
{{- range . -}}{{- $_ := set $all . true -}}{{- end -}}
{{- range until 128 -}}
  {{- $before := len $all -}}
  {{- range $network := keys $all -}}
    {{- $parent := substr 0 (int (max 2 (sub (len $network) 1))) $network -}}
    {{- if and (hasKey $all (printf "%s0" $parent)) (hasKey $all (printf "%s1" $parent)) -}}
      {{- $_ := set $all $parent true -}}
    {{- end -}}
  {{- end -}}
  {{- if eq $before (len $all) -}}{{- break -}}{{- end -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{/* What is wrong with a host, an IP address or a DNS name; empty where nothing is. */}}
{{- define "proxy-exit.hostProblem" -}}
{{- $bits := include "proxy-exit.bits" (regexReplaceAll "^([^%]*:[^%]*)%.+$" . "${1}") -}}
{{- $name := trimSuffix "." . -}}
{{- if $bits -}}
  {{- if not (contains "1" $bits) -}}
is the unspecified address: write the address of a server
  {{- else if regexMatch (printf "^(4:|%s)1110|^6:11111111" (include "proxy-exit.mapped" .)) $bits -}}
is a multicast address: write the address of a server
  {{- end -}}
{{- else -}}
  {{- $label := "[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?" -}}
  {{- if or (gt (len $name) 253) (not (regexMatch (printf "^%s([.]%s)*$" $label $label) $name)) (regexMatch "(^|[.])[0-9]+$" $name) -}}
is not an IP address or a DNS name
  {{- end -}}
{{- end -}}
{{- end -}}
