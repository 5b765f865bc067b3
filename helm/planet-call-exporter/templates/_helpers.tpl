{{- define "planet-call-exporter.name" -}}
{{- /* The name of a dependency may be an alias in camelCase. */ -}}
{{ .Values.nameOverride | default (kebabcase .Chart.Name) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for what a StatefulSet adds to the names and labels of its pods. */}}
{{- define "planet-call-exporter.fullname" -}}
{{- $name := include "planet-call-exporter.name" . -}}
{{- /* A release may have dots in its name, and a service may not. */ -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- $full := ternary $release (printf "%s-%s" $release $name) (contains $name .Release.Name) -}}
{{- $full = .Values.fullnameOverride | default $full | trunc 52 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z]" $full) -}}
{{- fail (printf "objects would be called %s, and the name of a service begins with a letter: set fullnameOverride, or give the release another name" $full) -}}
{{- end -}}
{{ $full }}
{{- end }}

{{- define "planet-call-exporter.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- define "planet-call-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "planet-call-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of every object. */}}
{{- define "planet-call-exporter.ownLabels" -}}
{{ include "planet-call-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The metadata of an object: (dict "context" . "name" "of the release, if not given" "namespace" "likewise" "labels" dict "annotations" dict). */}}
{{- define "planet-call-exporter.metadata" -}}
name: {{ .name | default (include "planet-call-exporter.fullname" .context) }}
namespace: {{ .namespace | default (include "planet-call-exporter.namespace" .context) }}
labels:
  {{- include "planet-call-exporter.ownLabels" .context | nindent 2 }}
  {{- with merge (deepCopy (.labels | default dict)) (.context.Values.commonLabels | default dict) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "planet-call-exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "planet-call-exporter.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "planet-call-exporter.callEventPath" -}}
{{ .Values.exporter.flags.callEventPath | default "/call_event" }}
{{- end }}

{{/* The same without a query, which no route has. */}}
{{- define "planet-call-exporter.callEventRoute" -}}
{{ include "planet-call-exporter.callEventPath" . | splitList "?" | first }}
{{- end }}

{{/* What a route leads here: the path of call events or, with a service behind, everything. */}}
{{- define "planet-call-exporter.routePath" -}}
{{ ternary "/" (include "planet-call-exporter.callEventRoute" .) (not (empty .Values.exporter.flags.forwardTo)) }}
{{- end }}

{{/* "true" if a route of this path leads call events here and nothing else: (list context path). */}}
{{- define "planet-call-exporter.routesOnlyCallEvents" -}}
{{- $context := index . 0 -}}
{{- $path := index . 1 -}}
{{- $isEverything := and (eq $path "/") (not (empty $context.Values.exporter.flags.forwardTo)) -}}
{{ and (eq $path (include "planet-call-exporter.callEventRoute" $context)) (not $isEverything) }}
{{- end }}

{{/* Something if there are pods. */}}
{{- define "planet-call-exporter.hasWorkload" -}}
{{- if ne .Values.workload.kind "None" }}true{{ end }}
{{- end }}

{{/* What a pod pulls its images with, and whom it runs as. */}}
{{- define "planet-call-exporter.podAccess" -}}
{{- $secrets := .Values.imagePullSecrets | default list }}
{{- range (.Values.global | default dict).imagePullSecrets }}
{{- /* Charts differ in how they write them. */}}
{{- $secrets = append $secrets (ternary (dict "name" .) . (kindIs "string" .)) }}
{{- end }}
{{- with uniq $secrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with ternary (omit (.Values.podSecurityContext | default dict) "fsGroup") .Values.podSecurityContext .Values.exporter.openshift }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The pod, for both kinds of workload. */}}
{{- define "planet-call-exporter.podTemplate" -}}
{{- $exporter := set (omit .Subcharts.exporter "Namespace") "Namespace" (include "planet-call-exporter.namespace" .) -}}
metadata:
  labels:
    {{- include "planet-call-exporter.selectorLabels" . | nindent 4 }}
    {{- with merge (deepCopy (.Values.podLabels | default dict)) (.Values.commonLabels | default dict) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $annotations := deepCopy (.Values.podAnnotations | default dict) }}
  {{- range $name, $value := include "planet-call-exporter-sidecar.podAnnotations" $exporter | fromYaml }}
  {{- /* It is a list of volumes. One that is empty has none. */}}
  {{- if not (hasKey $annotations $name) }}
  {{- $_ := set $annotations $name $value }}
  {{- else if index $annotations $name }}
  {{- $_ := set $annotations $name (printf "%s,%s" (index $annotations $name) $value) }}
  {{- end }}
  {{- end }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "planet-call-exporter.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with include "planet-call-exporter.podAccess" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- range $name := list "priorityClassName" "runtimeClassName" "schedulerName" "dnsPolicy" }}
  {{- with index $.Values $name }}
  {{ $name }}: {{ . }}
  {{- end }}
  {{- end }}
  {{- range $name := list "dnsConfig" "hostAliases" "nodeSelector" "tolerations" "affinity" }}
  {{- with index $.Values $name }}
  {{ $name }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    {{- if not .labelSelector }}
    {{- $own := dict "matchLabels" (include "planet-call-exporter.selectorLabels" $ | fromYaml) }}
    {{- $_ := set . "labelSelector" $own }}
    {{- end }}
    - {{ toYaml . | nindent 6 | trim }}
    {{- end }}
  {{- end }}
  {{- with .Values.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    {{- include "planet-call-exporter-sidecar.containers" $exporter | nindent 4 }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with include "planet-call-exporter-sidecar.volumes" $exporter | trim }}
  volumes:
    {{- . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* What does not fit together, and no schema can tell. */}}
{{- define "planet-call-exporter.check" -}}
{{- include "planet-call-exporter.checkLabels" . }}
{{- include "planet-call-exporter.checkService" . }}
{{- include "planet-call-exporter.checkWorkload" . }}
{{- include "planet-call-exporter.checkMonitors" . }}
{{- if .Values.exporter.nativeSidecar }}
{{- fail "exporter.nativeSidecar is true: here the exporter is the only container; native sidecars come from the chart planet-call-exporter-sidecar" }}
{{- end }}
{{- if .Values.autoscaling.enabled }}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}
{{- fail (printf "autoscaling.minReplicas is %v and maxReplicas %v: expected a maximum that is not below the minimum" .Values.autoscaling.minReplicas .Values.autoscaling.maxReplicas) }}
{{- end }}
{{- $resources := .Values.exporter.resources | default dict }}
{{- /* Without a request, the limit is one. */}}
{{- if not (or ($resources.requests | default dict).cpu ($resources.limits | default dict).cpu) }}
{{- fail "autoscaling.enabled needs exporter.resources.requests.cpu, of which it takes the share" }}
{{- end }}
{{- end }}
{{- if and .Values.exporter.preStopSleepSeconds (le (int .Values.terminationGracePeriodSeconds) (int .Values.exporter.preStopSleepSeconds)) }}
{{- fail (printf "terminationGracePeriodSeconds is %v and exporter.preStopSleepSeconds %v: the exporter would be killed before it is told to end" .Values.terminationGracePeriodSeconds .Values.exporter.preStopSleepSeconds) }}
{{- end }}
{{- if and (eq .Values.service.type "ClusterIP") (eq (int .Values.service.port) (int .Values.exporter.ports.metrics)) }}
{{- fail (printf "service.port and exporter.ports.metrics are both %v: the service has both" .Values.service.port) }}
{{- end }}
{{- if and (eq .Values.workload.kind "Deployment") .Values.exporter.state.enabled .Values.exporter.state.claimTemplate.enabled }}
{{- fail "workload.kind is Deployment, which has no claim for each pod: set exporter.state.claimTemplate.enabled=false to keep the state within the pod, or workload.kind=StatefulSet" }}
{{- end }}
{{- if and .Values.exporter.state.existingClaim (or .Values.autoscaling.enabled (gt (int .Values.workload.replicas) 1)) }}
{{- fail "exporter.state.existingClaim is one claim, and one exporter can use it: set workload.replicas=1 and autoscaling.enabled=false, or exporter.state.claimTemplate.enabled=true" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- fail "serviceMonitor.enabled and podMonitor.enabled are both true: every series would be there twice; choose one" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (ne .Values.service.type "ClusterIP") }}
{{- fail (printf "service.type is %s, and such a service has no port for metrics: set podMonitor.enabled=true instead of serviceMonitor.enabled" .Values.service.type) }}
{{- end }}
{{- if and .Values.dashboards.grafanaOperator.enabled (not .Values.dashboards.enabled) }}
{{- fail "dashboards.grafanaOperator.enabled reads the ConfigMaps of dashboards.enabled, which is false" }}
{{- end }}
{{- end }}
