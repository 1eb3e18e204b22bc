{{/* Every object's name, or how it begins. */}}
{{- define "proxy-client.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "proxy-client.webhook" -}}
{{- printf "%s-webhook" (include "proxy-client.fullname" .) -}}
{{- end -}}

{{/* The ConfigMap. Its name is nobody else's, for kustomize, which gives it another, to find
where it is meant. */}}
{{- define "proxy-client.config" -}}
{{- printf "%s-config" (include "proxy-client.webhook" .) -}}
{{- end -}}

{{/* The Secret with the serving certificate. Each mode has one of its own: helm does not take
over what cert-manager has made, and the webhook of before may still write into its own. */}}
{{- define "proxy-client.secret" -}}
{{- printf "%s-%stls" (include "proxy-client.webhook" .) (ternary "" "cert-manager-" (eq .Values.certificates.mode "managed")) -}}
{{- end -}}

{{/* What a selector may say: it can never change. */}}
{{- define "proxy-client.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: webhook
{{- end -}}

{{- define "proxy-client.labels" -}}
{{ include "proxy-client.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Of what `helm test` makes: no selector of the webhook's means it. */}}
{{- define "proxy-client.testLabels" -}}
{{- include "proxy-client.labels" . | replace "app.kubernetes.io/component: webhook" "app.kubernetes.io/component: test" -}}
{{- end -}}

{{/* Of what the pod of `helm test` needs: it is there before the pod, and goes with the test. */}}
{{- define "proxy-client.testAnnotations" -}}
helm.sh/hook: test
helm.sh/hook-weight: "-1"
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end -}}

{{/* An image, of a list of the root and the image's values. */}}
{{- define "proxy-client.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- with dig "imageRegistry" "" ($root.Values.global | default dict) | default $root.Values.images.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest -}}
@{{ $image.digest }}
{{- else -}}
:{{ default $root.Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{/* The InjectionConfig: config, and what the chart knows beside it, so that who has it makes
the pods that the webhook makes. */}}
{{- define "proxy-client.configuration" -}}
{{- $images := dict "proxyClient" (include "proxy-client.image" (list . .Values.images.proxyClient)) "initRedirect" (include "proxy-client.image" (list . .Values.images.initRedirect)) -}}
{{- toYaml (merge (dict "version" .Chart.AppVersion "images" $images) .Values.config) -}}
{{- end -}}

{{/* The Secrets for the webhook's image, as a list. A parent chart may give names alone. */}}
{{- define "proxy-client.pullSecrets" -}}
{{- $names := list -}}
{{- range concat (dig "imagePullSecrets" list (.Values.global | default dict) | default list) .Values.images.pullSecrets -}}
{{- $names = append $names (kindIs "string" . | ternary . (get (kindIs "string" . | ternary dict .) "name")) -}}
{{- end -}}
{{- range uniq $names }}
- name: {{ . }}
{{- end -}}
{{- end -}}

{{/* Nine tenths of the memory limit, for Go's garbage collector; nothing where there is none. */}}
{{- define "proxy-client.goMemLimit" -}}
{{- with dig "limits" "memory" "" .Values.resources -}}
{{- $bytes := include "proxy-client.quantity" (dict "field" "resources.limits.memory" "value" .) | float64 -}}
{{- printf "%dMiB" (divf $bytes 1048576 | mulf 0.9 | floor | int64) -}}
{{- end -}}
{{- end -}}
