{{/*
What every pod needs and config of the values leaves out, as a JSON list of maps: its name, the
fields to set, and the annotations by which a pod may say it. webhook/needs.go has the rules.
*/}}
{{- define "proxy-client.needs" -}}
{{- $shoot := dig "shoot" dict . | default dict -}}
{{- $server := dig "proxyServer" dict . | default dict -}}
{{- $tls := dig "tls" dict $server | default dict -}}
{{- $needs := list -}}
{{- if not (or $shoot.podCIDRs $shoot.serviceCIDRs $shoot.nodeCIDRs (dig "policy" "gardener" false .)) -}}
  {{- $needs = append $needs (dict "name" "shoot" "set" "shoot.podCIDRs, serviceCIDRs or nodeCIDRs" "by" (list "pod-cidrs" "service-cidrs" "node-cidrs")) -}}
{{- end -}}
{{- if not $server.addresses -}}
  {{- $needs = append $needs (dict "name" "addresses" "set" "proxyServer.addresses" "by" (list "proxy-server")) -}}
{{- end -}}
{{- if not (or $tls.caSecret $tls.caConfigMap) -}}
  {{- $needs = append $needs (dict "name" "ca" "set" "proxyServer.tls.caSecret or caConfigMap" "by" (list "ca-secret" "ca-configmap")) -}}
{{- end -}}
{{- if not $tls.clientSecret -}}
  {{- $needs = append $needs (dict "name" "client" "set" "proxyServer.tls.clientSecret" "by" (list "client-secret")) -}}
{{- end -}}
{{- $locked := include "proxy-client.lockedFields" . | fromJsonArray -}}
{{- range $needs -}}
  {{- $free := list -}}
  {{- range .by -}}{{- if not (has . $locked) -}}{{- $free = append $free . -}}{{- end -}}{{- end -}}
  {{- $_ := set . "annotations" $free -}}
{{- end -}}
{{- toJson $needs -}}
{{- end -}}

{{/* The annotations that pods may not use, of the config, as a JSON list. */}}
{{- define "proxy-client.lockedFields" -}}
{{- $locked := dig "policy" "lockedFields" (list "proxy-server" "ca-secret" "client-secret") . -}}
{{- if has "ca-secret" $locked -}}{{- $locked = append $locked "ca-configmap" -}}{{- end -}}
{{- toJson $locked -}}
{{- end -}}

{{/* The ConfigMaps of a namespace that the webhook can read for a pod, of the config, as a JSON
list. Any but shoot-proxy has to be named in an annotation of the pod. */}}
{{- define "proxy-client.readableMaps" -}}
{{- $maps := dig "policy" "configMaps" (list "shoot-proxy") . -}}
{{- if has "config" (include "proxy-client.lockedFields" . | fromJsonArray) -}}
  {{- $maps = has "shoot-proxy" $maps | ternary (list "shoot-proxy") list -}}
{{- end -}}
{{- toJson $maps -}}
{{- end -}}

{{/* Refuses a config that leaves out what it lets no other source say. */}}
{{- define "proxy-client.checkNeeds" -}}
{{- if not (or (eq (dig "inject" "" .) "disabled") (include "proxy-client.readableMaps" . | fromJsonArray)) -}}
  {{- range include "proxy-client.needs" . | fromJsonArray -}}
    {{- if not .annotations -}}
      {{- fail (printf "config has no %s, which no other source may say: set it, or name a ConfigMap in config.policy.configMaps, or take %s out of config.policy.lockedFields" .set (first .by)) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* What a namespace or its pods have to say in place of the config, for the notes. */}}
{{- define "proxy-client.needsNote" -}}
{{- $needs := include "proxy-client.needs" . | fromJsonArray -}}
{{- $maps := include "proxy-client.readableMaps" . | fromJsonArray -}}
{{- if and (eq (dig "inject" "" .) "disabled") (not $maps) -}}
{{- $needs = list -}}{{/* no pod is injected */}}
{{- end -}}
{{- $names := list -}}
{{- $annotations := list -}}
{{- range $needs -}}
  {{- $names = append $names .name -}}
  {{- range .annotations -}}{{- $annotations = append $annotations (printf "shoot-proxy.io/%s" .) -}}{{- end -}}
{{- end -}}
{{- if and $needs $maps }}
   - ConfigMap {{ has "shoot-proxy" $maps | ternary "shoot-proxy" (printf "%s, named in annotation shoot-proxy.io/config of each pod," (first $maps)) }}
     with what config of this chart's values leaves out, in key config.yaml:

       apiVersion: config.shoot-proxy.io/v1alpha1
       kind: InjectionConfig
{{- if has "shoot" $names }}
       shoot: # at least one of the three
         podCIDRs: [CIDR]
         serviceCIDRs: [CIDR]
         nodeCIDRs: [CIDR]
{{- end }}
{{- if or (has "addresses" $names) (has "ca" $names) (has "client" $names) }}
       proxyServer:
{{- if has "addresses" $names }}
         addresses: ["HOST:PORT"]
{{- end }}
{{- if or (has "ca" $names) (has "client" $names) }}
         tls:
{{- if has "ca" $names }}
           caSecret: NAME # or caConfigMap
{{- end }}
{{- if has "client" $names }}
           clientSecret: NAME
{{- end }}
{{- end }}
{{- end }}
{{/* Leave a line empty. */}}
{{- else if $needs }}
   - annotations of each pod that say what config of this chart's values leaves out, some of
     {{ join ",\n     " $annotations }}
{{- end }}
{{- end -}}
