{{/* What does not fit together around the pod: parts of planet-call-exporter.check. */}}

{{/* Labels that the chart sets itself would stand twice. */}}
{{- define "planet-call-exporter.checkLabels" -}}
{{- $own := include "planet-call-exporter.ownLabels" . | fromYaml }}
{{- $given := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels "service.labels" .Values.service.labels
      "serviceMonitor.labels" .Values.serviceMonitor.labels "podMonitor.labels" .Values.podMonitor.labels
      "prometheusRule.labels" .Values.prometheusRule.labels "dashboards.labels" .Values.dashboards.labels }}
{{- range $name, $labels := $given }}
{{- range $label, $_ := $labels }}
{{- if hasKey $own $label }}
{{- fail (printf "%s has %s, which the chart sets: leave it out (nameOverride changes the name)" $name $label) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the API server refuses of a service, or overlooks. */}}
{{- define "planet-call-exporter.checkService" -}}
{{- with .Values.service }}
{{- $type := .type }}
{{- if and (ne $type "ClusterIP") (eq .clusterIP "None") }}
{{- fail (printf "service.clusterIP is None and service.type %s: only a service of the type ClusterIP can be headless" $type) }}
{{- end }}
{{- range $name := list "loadBalancerClass" "loadBalancerSourceRanges" }}
{{- if and (ne $type "LoadBalancer") (index $.Values.service $name) }}
{{- fail (printf "service.%s is set and service.type %s: it is for the type LoadBalancer" $name $type) }}
{{- end }}
{{- end }}
{{- range $name := list "externalTrafficPolicy" "nodePort" }}
{{- if and (eq $type "ClusterIP") (index $.Values.service $name) }}
{{- fail (printf "service.%s is set and service.type ClusterIP: it is for the types NodePort and LoadBalancer" $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "planet-call-exporter.checkWorkload" -}}
{{- if and (eq .Values.dnsPolicy "None") (not (.Values.dnsConfig | default dict).nameservers) }}
{{- fail "dnsPolicy is None and dnsConfig.nameservers empty: name the servers to ask" }}
{{- end }}
{{- with .Values.workload }}
{{- if and .strategy (eq .kind "StatefulSet") }}
{{- fail "workload.strategy is that of a Deployment: set workload.updateStrategy, or workload.kind=Deployment" }}
{{- end }}
{{- if and .updateStrategy (eq .kind "Deployment") }}
{{- fail "workload.updateStrategy is that of a StatefulSet: set workload.strategy, or workload.kind=StatefulSet" }}
{{- end }}
{{- if and .strategy $.Values.exporter.state.existingClaim (ne (.strategy.type | default "") "Recreate") }}
{{- fail "workload.strategy has another type than Recreate: the new pod can have exporter.state.existingClaim only when the old one is gone" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "planet-call-exporter.checkMonitors" -}}
{{- range $name := list "serviceMonitor" "podMonitor" }}
{{- with index $.Values $name }}
{{- if and .interval .scrapeTimeout (gt (include "planet-call-exporter.milliseconds" .scrapeTimeout | int64) (include "planet-call-exporter.milliseconds" .interval | int64)) }}
{{- fail (printf "%s.scrapeTimeout is %s and interval %s: expected a timeout that is not above the interval" $name .scrapeTimeout .interval) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Those of a duration of Prometheus, such as 1m30s. */}}
{{- define "planet-call-exporter.milliseconds" -}}
{{- $units := dict "y" 31536000000 "w" 604800000 "d" 86400000 "h" 3600000 "m" 60000 "s" 1000 "ms" 1 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|[ywdhms])" . -1 -}}
{{- $number := regexFind "^[0-9]+" . -}}
{{- $sum = add $sum (mul (atoi $number) (index $units (trimPrefix $number .))) -}}
{{- end -}}
{{ $sum }}
{{- end }}
