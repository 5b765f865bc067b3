{{/*
The container of planet-call-exporter, and what it needs of its pod. Every template takes the context of this chart as a subchart:

  {{- include "planet-call-exporter-sidecar.volumes" (index .Subcharts "planet-call-exporter-sidecar") | nindent 8 }}

A list or a map that is empty renders as nothing.
*/}}

{{/* The list of init containers: the exporter, if it is a native sidecar. */}}
{{- define "planet-call-exporter-sidecar.initContainers" -}}
{{- if .Values.nativeSidecar -}}
- {{ include "planet-call-exporter-sidecar.container" . | nindent 2 | trim }}
  restartPolicy: Always
{{- end }}
{{- end }}

{{/* The list of containers: the exporter, if it is an ordinary container. */}}
{{- define "planet-call-exporter-sidecar.containers" -}}
{{- if not .Values.nativeSidecar -}}
- {{ include "planet-call-exporter-sidecar.container" . | nindent 2 | trim }}
{{- end }}
{{- end }}

{{- define "planet-call-exporter-sidecar.container" -}}
name: {{ .Values.containerName }}
image: {{ include "planet-call-exporter-sidecar.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  {{- include "planet-call-exporter-sidecar.args" . | nindent 2 }}
{{- with include "planet-call-exporter-sidecar.env" . | trim }}
env:
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: planet-calls
    containerPort: {{ .Values.ports.callEvents }}
    protocol: TCP
  - name: planet-metrics
    containerPort: {{ .Values.ports.metrics }}
    protocol: TCP
{{- /* None asks after a collector or the service behind: a restart would not bring those back. A disk that is full restarts
nothing either, and makes the pod unready only if storageReadiness says so. */}}
{{- $readyz := ternary "/readyz" "/readyz?exclude=storage" .Values.storageReadiness }}
{{- range list (list "startupProbe" "/livez") (list "livenessProbe" "/livez") (list "readinessProbe" $readyz) }}
{{- $name := first . }}
{{- $probe := index $.Values $name | default dict }}
{{- if ne (toString $probe.enabled) "false" }}
{{ $name }}:
  {{- include "planet-call-exporter-sidecar.probe" (list $ (last .) $probe) | nindent 2 }}
{{- end }}
{{- end }}
{{- /* At the beginning of the pod's deletion. A native sidecar goes on until the other containers have ended anyway. */}}
lifecycle:
  preStop:
    exec:
      command:
        - /usr/local/bin/planet-call-exporter
        - drain
        - --admin-listen={{ include "planet-call-exporter-sidecar.adminListen" . }}
        {{- with include "planet-call-exporter-sidecar.adminWebConfigFile" . }}
        - --admin-web-config-file={{ . }}
        {{- end }}
        {{- if and (not .Values.nativeSidecar) .Values.preStopSleepSeconds }}
        - --wait={{ .Values.preStopSleepSeconds }}s
        {{- end }}
{{- /* Why the exporter could not start is the last that it logs. */}}
terminationMessagePolicy: FallbackToLogsOnError
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with ternary (omit (.Values.securityContext | default dict) "runAsUser" "runAsGroup") .Values.securityContext .Values.openshift }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "planet-call-exporter-sidecar.volumeMounts" . | trim }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The registry of all charts takes the place of the repository's own. */}}
{{- define "planet-call-exporter-sidecar.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with (.Values.global | default dict).imageRegistry -}}
{{- $repository = regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "" | printf "%s/%s" . -}}
{{- end -}}
{{- with .Values.image -}}
{{ $repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "planet-call-exporter-sidecar.probe" -}}
{{- $context := index . 0 -}}
httpGet:
  path: {{ index . 1 }}
  {{- /* By number: names of ports are not found everywhere in init containers before Kubernetes 1.32. */}}
  port: {{ $context.Values.ports.metrics }}
  {{- if eq (include "planet-call-exporter-sidecar.adminScheme" $context) "HTTPS" }}
  scheme: HTTPS
  {{- end }}
{{- with omit (index . 2) "enabled" }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* HTTP or HTTPS: that of the admin port. */}}
{{- define "planet-call-exporter-sidecar.adminScheme" -}}
{{- with .Values.adminWebConfigSecret }}{{ ternary .scheme "HTTP" (ne .name "") }}{{ end }}
{{- end }}

{{- define "planet-call-exporter-sidecar.args" -}}
{{- include "planet-call-exporter-sidecar.check" . }}
{{- $own := include "planet-call-exporter-sidecar.ownArgs" . -}}
{{ $own }}
{{- range .Values.extraArgs }}
{{- $flag := splitList "=" . | first }}
{{- if contains (printf "%s=" $flag) $own }}
{{- fail (printf "extraArgs has %s, which the chart gives already: set it by the chart's value" $flag) }}
{{- end }}
- {{ toYaml . }}
{{- end }}
{{- range .Values.extraEnv }}
{{- $flag := trimPrefix "PLANET_" .name | lower | replace "_" "-" | printf "--%s" }}
{{- if and (hasPrefix "PLANET_" .name) (contains (printf "%s=" $flag) $own) }}
{{- fail (printf "extraEnv has %s, and the argument %s, which the chart gives, goes before it: set it by the chart's value" .name $flag) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "planet-call-exporter-sidecar.ownArgs" -}}
- --listen={{ .Values.listenAddress }}:{{ .Values.ports.callEvents }}
- --admin-listen={{ include "planet-call-exporter-sidecar.adminListen" . }}
- --worker-threads={{ .Values.workerThreads }}
{{- if .Values.state.enabled }}
- --state-dir={{ include "planet-call-exporter-sidecar.stateDirectory" . }}
{{- if include "planet-call-exporter-sidecar.stateOutlivesPod" . }}
{{- with .Values.state.lockWait }}
- --state-lock-wait={{ . }}
{{- end }}
{{- else }}
- --state-ephemeral=true
{{- end }}
{{- end }}
{{- with .Values.tlsSecret }}
{{- if .name }}
- --tls-cert-file=/etc/planet-call-exporter/tls/tls.crt
- --tls-key-file=/etc/planet-call-exporter/tls/tls.key
{{- with .clientCertificateAuthority }}
- --tls-client-ca-file=/etc/planet-call-exporter/tls/{{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- with include "planet-call-exporter-sidecar.adminWebConfigFile" . }}
- --admin-web-config-file={{ . }}
{{- end }}
{{- if .Values.callEventSecret.name }}
- --call-event-secret-file=/etc/planet-call-exporter/call-events/{{ .Values.callEventSecret.key }}
{{- end }}
{{- if .Values.identityKeySecret.name }}
- --identity-key-file=/etc/planet-call-exporter/identity/{{ .Values.identityKeySecret.key }}
{{- else if eq (.Values.flags.identity | default "") "hash" }}
{{- fail "flags.identity is hash, which needs a key: name a secret in identityKeySecret.name" }}
{{- end }}
{{- range $flag, $value := .Values.flags }}
{{- /* An empty list is none. */}}
{{- if not (or (kindIs "invalid" $value) (and (kindIs "slice" $value) (empty $value))) }}
{{- if kindIs "slice" $value }}
{{- $value = join "," $value }}
{{- else if kindIs "float64" $value }}
{{- $value = int64 $value }}
{{- end }}
- {{ printf "--%s=%v" (kebabcase $flag) $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "planet-call-exporter-sidecar.adminListen" -}}
{{ .Values.listenAddress }}:{{ .Values.ports.metrics }}
{{- end }}

{{- define "planet-call-exporter-sidecar.adminWebConfigFile" -}}
{{- with .Values.adminWebConfigSecret }}
{{- if .name }}/etc/planet-call-exporter/admin/{{ .key }}{{ end }}
{{- end }}
{{- end }}

{{- define "planet-call-exporter-sidecar.stateDirectory" -}}
/var/lib/planet-call-exporter
{{- end }}

{{/* Extra variables come first, so that the others can refer to them. */}}
{{- define "planet-call-exporter-sidecar.env" -}}
{{- range .Values.extraEnv }}
{{- $variable := deepCopy . }}
{{- with ($variable.valueFrom | default dict).fieldRef }}
{{- /* As the API server has it, so that an apply finds no difference. */}}
{{- $_ := set . "apiVersion" (.apiVersion | default "v1") }}
{{- end }}
- {{ toYaml $variable | nindent 2 | trim }}
{{- end }}
{{- with .Values.otlp }}
{{- if .endpoint }}
- name: K8S_NAMESPACE_NAME
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: metadata.namespace
{{- $attributes := dict "k8s.namespace.name" "$(K8S_NAMESPACE_NAME)" "k8s.container.name" $.Values.containerName }}
{{- /* With a claim the totals go on in the next pod, wherever that runs; a series that goes on may not change its attributes. */}}
{{- $claim := include "planet-call-exporter-sidecar.sharedClaim" $ }}
{{- if not $claim }}
- name: K8S_POD_NAME
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: metadata.name
{{- $_ := set $attributes "k8s.pod.name" "$(K8S_POD_NAME)" }}
{{- end }}
{{- $_ := set $attributes "service.instance.id" (printf "$(K8S_NAMESPACE_NAME).%s.%s" ($claim | default "$(K8S_POD_NAME)") $.Values.containerName) }}
{{- if not (include "planet-call-exporter-sidecar.stateOutlivesPod" $) }}
- name: K8S_POD_UID
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: metadata.uid
- name: K8S_NODE_NAME
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: spec.nodeName
{{- $_ := set $attributes "k8s.pod.uid" "$(K8S_POD_UID)" }}
{{- $_ := set $attributes "k8s.node.name" "$(K8S_NODE_NAME)" }}
{{- end }}
{{- $list := list }}
{{- range $name, $value := merge (deepCopy (.resourceAttributes | default dict)) $attributes }}
{{- $list = append $list (printf "%s=%v" $name $value) }}
{{- end }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ join "," $list | quote }}
- name: OTEL_SERVICE_NAME
  value: {{ .serviceName | default $.Release.Name | quote }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ .protocol }}
{{- with .compression }}
- name: OTEL_EXPORTER_OTLP_COMPRESSION
  value: {{ . }}
{{- end }}
{{- if not .metrics }}
- name: OTEL_METRICS_EXPORTER
  value: none
{{- end }}
{{- if not .traces }}
- name: OTEL_TRACES_EXPORTER
  value: none
{{- end }}
{{- if .headersSecret.name }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ .headersSecret.name }}
      key: {{ .headersSecret.key }}
{{- end }}
{{- with .tlsSecret }}
{{- if .name }}
{{- range $variable, $file := dict "CERTIFICATE" .certificateAuthority "CLIENT_CERTIFICATE" .certificate "CLIENT_KEY" .key }}
{{- if $file }}
- name: OTEL_EXPORTER_OTLP_{{ $variable }}
  value: /etc/planet-call-exporter/otlp/{{ $file }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Something if the state is kept by a claim, nothing if it goes with the pod. */}}
{{- define "planet-call-exporter-sidecar.stateOutlivesPod" -}}
{{- with .Values.state }}
{{- if and .enabled (or .existingClaim .claimTemplate.enabled) }}true{{ end }}
{{- end }}
{{- end }}

{{/* The claim that pods of any name take over from each other, if there is one. The totals go by its name then, not by the pod's. */}}
{{- define "planet-call-exporter-sidecar.sharedClaim" -}}
{{- with .Values.state }}
{{- if .enabled }}{{ .existingClaim }}{{ end }}
{{- end }}
{{- end }}

{{/* The list of relabelings of a ServiceMonitor or PodMonitor. By themselves they call an instance by its pod's address, and the next
pod would begin new series; with these it is what service.instance.id is over OTLP. */}}
{{- define "planet-call-exporter-sidecar.relabelings" -}}
{{- $claim := include "planet-call-exporter-sidecar.sharedClaim" . -}}
{{- if $claim -}}
- action: replace
  sourceLabels: [__meta_kubernetes_namespace]
  targetLabel: instance
  replacement: $1.{{ $claim }}.{{ .Values.containerName }}
- action: labeldrop
  regex: pod
{{- else -}}
- action: replace
  sourceLabels: [__meta_kubernetes_namespace, __meta_kubernetes_pod_name, __meta_kubernetes_pod_container_name]
  separator: .
  targetLabel: instance
{{- end }}
{{- end }}
