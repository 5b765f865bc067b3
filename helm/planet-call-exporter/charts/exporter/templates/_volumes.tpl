{{/* What the container mounts, and the volumes and claims of its pod. */}}
{{- define "planet-call-exporter-sidecar.volumeMounts" -}}
{{- if .Values.state.enabled }}
- name: planet-call-exporter-state
  mountPath: {{ include "planet-call-exporter-sidecar.stateDirectory" . }}
{{- end }}
{{- range $folder, $secret := dict "tls" .Values.tlsSecret.name "admin" .Values.adminWebConfigSecret.name }}
{{- if $secret }}
- name: planet-call-exporter-{{ $folder }}
  mountPath: /etc/planet-call-exporter/{{ $folder }}
  readOnly: true
{{- end }}
{{- end }}
{{- if .Values.callEventSecret.name }}
- name: planet-call-exporter-call-events
  mountPath: /etc/planet-call-exporter/call-events
  readOnly: true
{{- end }}
{{- if .Values.identityKeySecret.name }}
- name: planet-call-exporter-identity
  mountPath: /etc/planet-call-exporter/identity
  readOnly: true
{{- end }}
{{- if and .Values.otlp.endpoint .Values.otlp.tlsSecret.name }}
- name: planet-call-exporter-otlp
  mountPath: /etc/planet-call-exporter/otlp
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The list of volumes of the pod, but for those from claim templates. */}}
{{- define "planet-call-exporter-sidecar.volumes" -}}
{{- with .Values.state }}
{{- if and .existingClaim .claimTemplate.enabled }}
{{- fail "state.existingClaim and state.claimTemplate.enabled are both set: choose one claim, or one for each pod" }}
{{- end }}
{{- if and .enabled (not .claimTemplate.enabled) }}
- name: planet-call-exporter-state
  {{- if .existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .existingClaim }}
  {{- else }}
  emptyDir:
    {{- toYaml (.emptyDir | default dict) | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- range $folder, $secret := dict "tls" .Values.tlsSecret.name "admin" .Values.adminWebConfigSecret.name }}
{{- if $secret }}
- name: planet-call-exporter-{{ $folder }}
  secret:
    secretName: {{ $secret }}
{{- end }}
{{- end }}
{{- if .Values.callEventSecret.name }}
- name: planet-call-exporter-call-events
  secret:
    secretName: {{ .Values.callEventSecret.name }}
    items:
      - key: {{ .Values.callEventSecret.key }}
        path: {{ .Values.callEventSecret.key }}
{{- end }}
{{- if .Values.identityKeySecret.name }}
- name: planet-call-exporter-identity
  secret:
    secretName: {{ .Values.identityKeySecret.name }}
    items:
      - key: {{ .Values.identityKeySecret.key }}
        path: {{ .Values.identityKeySecret.key }}
{{- end }}
{{- if and .Values.otlp.endpoint .Values.otlp.tlsSecret.name }}
- name: planet-call-exporter-otlp
  secret:
    secretName: {{ .Values.otlp.tlsSecret.name }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Annotations of the pod: an emptyDir would otherwise keep the cluster autoscaler from removing the node. */}}
{{- define "planet-call-exporter-sidecar.podAnnotations" -}}
{{- if and .Values.state.enabled (not (include "planet-call-exporter-sidecar.stateOutlivesPod" .)) -}}
cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes: planet-call-exporter-state
{{- end }}
{{- with include "planet-call-exporter-sidecar.secretVersions" . | trim }}
checksum/secrets: {{ sha256sum . }}
{{- end }}
{{- end }}

{{/* The versions of the secrets that the exporter reads at its start only; their contents would be guessed from a checksum. */}}
{{- define "planet-call-exporter-sidecar.secretVersions" -}}
{{- if .Values.rollOutOnSecretChange }}
{{- $names := list .Values.identityKeySecret.name }}
{{- if .Values.otlp.endpoint }}
{{- $names = append $names .Values.otlp.headersSecret.name }}
{{- end }}
{{- range .Values.extraEnv }}
{{- $names = append $names ((.valueFrom | default dict).secretKeyRef | default dict).name }}
{{- end }}
{{- range .Values.extraEnvFrom }}
{{- $names = append $names (.secretRef | default dict).name }}
{{- end }}
{{- range compact $names | uniq | sortAlpha }}
{{- with lookup "v1" "Secret" ($.Namespace | default $.Release.Namespace) . }}
{{ .metadata.name }}={{ .metadata.resourceVersion }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The list of claim templates of a StatefulSet. */}}
{{- define "planet-call-exporter-sidecar.volumeClaimTemplates" -}}
{{- if and .Values.state.enabled .Values.state.claimTemplate.enabled -}}
{{- with .Values.state.claimTemplate -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: planet-call-exporter-state
    {{- with .annotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    accessModes:
      {{- toYaml .accessModes | nindent 6 }}
    {{- if not (kindIs "invalid" .storageClassName) }}
    storageClassName: {{ .storageClassName | quote }}
    {{- end }}
    resources:
      requests:
        storage: {{ .size }}
    volumeMode: Filesystem
  {{- /* As the API server has it: a list that it takes as a whole would differ for an apply. */}}
  status:
    phase: Pending
{{- end }}
{{- end }}
{{- end }}
