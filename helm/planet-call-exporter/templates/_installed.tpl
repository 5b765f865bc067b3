{{/*
What is installed, and what of it cannot change. There is nothing to compare with in `helm template` and with --dry-run=client, since
`lookup` finds nothing there.
*/}}

{{- define "planet-call-exporter.installedIn" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{/* The workloads of this release and chart, as the list `items`. */}}
{{- define "planet-call-exporter.installed" -}}
{{- $items := list }}
{{- if and .Release.IsUpgrade .Values.compareWithInstalled }}
{{- range $kind := list "StatefulSet" "Deployment" }}
{{- range (lookup "apps/v1" $kind (include "planet-call-exporter.installedIn" $) "").items }}
{{- $release := dig "annotations" "meta.helm.sh/release-name" "" .metadata }}
{{- $chart := dig "labels" "helm.sh/chart" "" .metadata }}
{{- /* A dependency that has got another alias is another chart. */}}
{{- $isOurs := or (regexMatch (printf "^%s-[0-9]" $.Chart.Name) $chart) (eq .metadata.name (include "planet-call-exporter.fullname" $)) }}
{{- if and (eq $release $.Release.Name) $isOurs }}
{{- $items = append $items (dict "kind" $kind "name" .metadata.name "spec" .spec) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- dict "items" $items | toYaml }}
{{- end }}

{{/* The number of replicas: that of the values, else the one that is installed, so that it stays what somebody else has made it. */}}
{{- define "planet-call-exporter.replicas" -}}
{{- if not (or .Values.autoscaling.enabled (kindIs "invalid" .Values.workload.replicas)) -}}
{{ .Values.workload.replicas }}
{{- else }}
{{- $number := "" }}
{{- range (include "planet-call-exporter.installed" . | fromYaml).items }}
{{- /* That of another kind or name, if there is none of this one: its place is taken. */}}
{{- if or (eq $number "") (and (eq .kind $.Values.workload.kind) (eq .name (include "planet-call-exporter.fullname" $))) }}
{{- $number = int .spec.replicas | toString }}
{{- end }}
{{- end }}
{{- /* An autoscaler does nothing where there are none. */}}
{{- if not (and .Values.autoscaling.enabled (eq $number "0")) }}
{{- $number }}
{{- end }}
{{- end }}
{{- end }}

{{/* A size of Kubernetes in bytes, so that 2048Mi is 2Gi, which the API server makes of it. */}}
{{- define "planet-call-exporter.bytes" -}}
{{- $number := regexFind "^[0-9.]+([eE][+-]?[0-9]+)?" . }}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 }}
{{- $unit := trimPrefix $number . }}
{{- if hasKey $units $unit }}{{ mulf (float64 $number) (get $units $unit) }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* What a claim template says, by the names of the values, as far as it cannot change. */}}
{{- define "planet-call-exporter.claimTemplate" -}}
size: {{ .spec.resources.requests.storage | toString | quote }}
storageClassName: {{ dig "storageClassName" "the cluster's default" .spec | quote }}
accessModes: {{ .spec.accessModes | toJson }}
annotations: {{ dig "annotations" dict .metadata | toJson }}
labels: {{ dig "labels" dict .metadata | toJson }}
{{- end }}

{{/* Compares the workload of this upgrade with what is installed: (list context workload). */}}
{{- define "planet-call-exporter.compare" -}}
{{- $context := index . 0 }}
{{- $new := index . 1 }}
{{- range (include "planet-call-exporter.installed" $context | fromYaml).items }}
{{- $object := printf "%s/%s" (lower .kind) .name }}
{{- $delete := printf "kubectl -n %s delete %s" (include "planet-call-exporter.installedIn" $context) $object }}
{{- $arguments := dict "context" $context "new" $new "old" . "object" $object "delete" $delete }}
{{- if and (eq .kind $new.kind) (eq .name $new.metadata.name) }}
{{- include "planet-call-exporter.compareSame" $arguments }}
{{- else }}
{{- include "planet-call-exporter.compareMoved" $arguments }}
{{- end }}
{{- end }}
{{- end }}

{{/* The same workload: what Kubernetes does not let change. */}}
{{- define "planet-call-exporter.compareSame" -}}
{{- $old := .old }}
{{- $new := .new.spec }}
{{- if ne (toJson $old.spec.selector.matchLabels) (toJson $new.selector.matchLabels) }}
{{- fail (printf "%s finds its pods by %s, which cannot become %s. Keep nameOverride as it was; or run `%s`, which ends the pods and keeps the claims, and then this upgrade again" .object (toJson $old.spec.selector.matchLabels) (toJson $new.selector.matchLabels) .delete) }}
{{- end }}
{{- range $field := list "serviceName" "podManagementPolicy" }}
{{- if ne (get $old.spec $field | default "") (get $new $field | default "") }}
{{- fail (printf "%s has the %s %v, which cannot become %v. Run `%s --cascade=orphan`, which leaves the pods running, and then this upgrade again" $.object $field (get $old.spec $field) (get $new $field) $.delete) }}
{{- end }}
{{- end }}
{{- $oldClaims := $old.spec.volumeClaimTemplates | default list }}
{{- $newClaims := $new.volumeClaimTemplates | default list }}
{{- if and $oldClaims (not $newClaims) }}
{{- fail (printf "%s keeps its state in a claim for each pod, which cannot be taken away (exporter.state.enabled, exporter.state.claimTemplate.enabled). Keep the values; or run `%s --cascade=orphan`, which leaves the pods running, and then this upgrade again. The claims stay: with one replica, exporter.state.existingClaim=%s goes on with the totals" .object .delete (include "planet-call-exporter.claimOfFirst" $old)) }}
{{- else if and $newClaims (not $oldClaims) }}
{{- fail (printf "%s has no claim for each pod, and cannot get one (exporter.state.enabled, exporter.state.claimTemplate.enabled). Keep the values; or run `%s`, which ends the pods, and then this upgrade again" .object .delete) }}
{{- else if $newClaims }}
{{- $is := include "planet-call-exporter.claimTemplate" (first $oldClaims) | fromYaml }}
{{- $shall := include "planet-call-exporter.claimTemplate" (first $newClaims) | fromYaml }}
{{- range $name, $value := $shall }}
{{- $before := get $is $name }}
{{- $isSame := eq (toJson $before) (toJson $value) }}
{{- if eq $name "size" }}
{{- $isSame = eq (include "planet-call-exporter.bytes" $before) (include "planet-call-exporter.bytes" $value) }}
{{- end }}
{{- if not $isSame }}
{{- $first := "" }}
{{- $stay := "; claims that are there stay as they are" }}
{{- if eq $name "size" }}
{{- $stay = "" }}
{{- $first = printf "resize the claim of each pod, `kubectl -n %s patch pvc %s --patch '{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"%s\"}}}}'`, " (include "planet-call-exporter.installedIn" $.context) (include "planet-call-exporter.claimOfFirst" $old) $value }}
{{- end }}
{{- fail (printf "%s was installed with exporter.state.claimTemplate.%s %s, which cannot become %s. Keep the value; or %srun `%s --cascade=orphan`, which leaves the pods running, and then this upgrade again%s" $.object $name (toJson $before) (toJson $value) $first $.delete $stay) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Another workload: the state of the one that is installed must not stay behind unnoticed. */}}
{{- define "planet-call-exporter.compareMoved" -}}
{{- $old := .old }}
{{- $existing := .context.Values.exporter.state.existingClaim }}
{{- if not .context.Values.exporter.state.enabled }}
{{- $existing = "" }}
{{- end }}
{{- $claim := "" }}
{{- range $old.spec.template.spec.volumes }}
{{- if eq .name "planet-call-exporter-state" }}
{{- $claim = dig "persistentVolumeClaim" "claimName" "" . }}
{{- end }}
{{- end }}
{{- $takesAlong := and $claim (eq $claim $existing) }}
{{- if $old.spec.volumeClaimTemplates }}
{{- $claim = include "planet-call-exporter.claimOfFirst" $old }}
{{- $takesAlong = hasPrefix (trimSuffix "0" $claim) $existing }}
{{- if and $takesAlong (eq (dig "persistentVolumeClaimRetentionPolicy" "whenDeleted" "Retain" $old.spec) "Delete") }}
{{- fail (printf "%s would take its claims with it when this upgrade deletes it. Upgrade with workload.claimRetentionPolicy.whenDeleted=Retain and without other changes first" .object) }}
{{- end }}
{{- end }}
{{- if and $claim (not $takesAlong) }}
{{- fail (printf "this release has %s, with its state in the claim %s, and %s/%s would begin without it (workload.kind, nameOverride, fullnameOverride, exporter.state). Keep the kind, and the name with fullnameOverride=%s; or go on with the state of one replica: exporter.state.existingClaim=%s, exporter.state.claimTemplate.enabled=false; or begin anew: run `%s`, which keeps claims that are to be retained, and then this upgrade again" .object $claim (lower .new.kind) .new.metadata.name $old.name $claim .delete) }}
{{- end }}
{{- end }}

{{/* The claim of the first pod of a StatefulSet. */}}
{{- define "planet-call-exporter.claimOfFirst" -}}
{{ (first .spec.volumeClaimTemplates).metadata.name }}-{{ .name }}-0
{{- end }}
