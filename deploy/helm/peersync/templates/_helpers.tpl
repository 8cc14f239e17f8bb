{{- define "peersync.name" -}}
{{- if contains "peersync" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-peersync" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "peersync.selector" -}}
app.kubernetes.io/name: peersync
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "peersync.labels" -}}
{{ include "peersync.selector" . }}
app.kubernetes.io/part-of: peersync-dev-connect
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | quote }}
{{- end }}

{{/* Whether the chart brings a Valkey: "true" or nothing. */}}
{{- define "peersync.bundled" -}}
{{- if not (or .Values.store.url .Values.store.existingSecret) }}true{{ end }}
{{- end }}

{{- define "peersync.storeSecret" -}}
{{- if .Values.store.existingSecret }}{{ .Values.store.existingSecret }}
{{- else if and (include "peersync.bundled" .) .Values.valkey.existingSecret }}{{ .Values.valkey.existingSecret }}
{{- else }}{{ include "peersync.name" . }}-store
{{- end }}
{{- end }}

{{/* Where the store listens, with commas between: the ports in its URL, and those named. */}}
{{- define "peersync.storePorts" -}}
{{- $isGuarded := contains "+sentinel:" .Values.store.url }}
{{- $place := regexReplaceAll "^.*@" (.Values.store.url | regexFind "//[^/?#]*" | trimPrefix "//") "" }}
{{- $ports := list }}
{{- range compact (splitList "," $place) }}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default (ternary "26379" "6379" $isGuarded)) }}
{{- end }}
{{- range .Values.store.ports }}{{ $ports = append $ports (. | int | toString) }}{{ end }}
{{- if and (not .Values.store.ports) (or $isGuarded (not $ports)) }}{{ $ports = append $ports "6379" }}{{ end }}
{{- if and (not .Values.store.ports) (not .Values.store.url) }}{{ $ports = append $ports "26379" }}{{ end }}
{{- $ports | uniq | join "," }}
{{- end }}

{{/* The secret with public.pem; nothing if an identity provider has the keys. */}}
{{- define "peersync.keySecret" -}}
{{- if .Values.jwt.publicKey }}{{ include "peersync.name" . }}-jwt
{{- else }}{{ .Values.jwt.existingSecret }}
{{- end }}
{{- end }}

{{- define "peersync.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "peersync.containerSecurity" -}}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
{{- end }}
