{{/* Every object's name, or how it begins. */}}
{{- define "proxy-exit.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the exit's certificate. */}}
{{- define "proxy-exit.serverSecret" -}}
{{- if eq .Values.certificates.mode "cert-manager" -}}
{{- printf "%s-cert-manager-tls" (include "proxy-exit.fullname" .) -}}
{{- else -}}
{{- .Values.certificates.serverSecret -}}
{{- end -}}
{{- end -}}

{{/* What a selector may say: it can never change. */}}
{{- define "proxy-exit.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: exit
{{- end -}}

{{- define "proxy-exit.labels" -}}
{{ include "proxy-exit.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "proxy-exit.image" -}}
{{- $image := .Values.images.proxyExit -}}
{{- with dig "imageRegistry" "" (.Values.global | default dict) | default .Values.images.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest -}}
@{{ $image.digest }}
{{- else -}}
:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{/* The Secrets for the image, as a list. A parent chart may give names alone. */}}
{{- define "proxy-exit.pullSecrets" -}}
{{- $names := list -}}
{{- range concat (dig "imagePullSecrets" list (.Values.global | default dict) | default list) .Values.images.pullSecrets -}}
{{- $names = append $names (kindIs "string" . | ternary . (get (kindIs "string" . | ternary dict .) "name")) -}}
{{- end -}}
{{- range uniq $names }}
- name: {{ . }}
{{- end -}}
{{- end -}}

{{/* How many connections to targets one client may have, of the section exit. */}}
{{- define "proxy-exit.maxClientStreams" -}}
{{- .maxClientStreams | default (div (.maxStreams | int) 2) | default 1 | int -}}
{{- end -}}

{{/* Nine tenths of the memory limit, for Go's garbage collector; nothing where there is none. */}}
{{- define "proxy-exit.goMemLimit" -}}
{{- with dig "limits" "memory" "" .Values.resources -}}
{{- $bytes := include "proxy-exit.quantity" (dict "field" "resources.limits.memory" "value" .) | float64 -}}
{{- printf "%dMiB" (divf $bytes 1048576 | mulf 0.9 | floor | int64) -}}
{{- end -}}
{{- end -}}
