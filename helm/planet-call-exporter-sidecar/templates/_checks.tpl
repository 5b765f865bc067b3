{{/* What does not fit together, and no schema can tell. It fails with what to change. */}}
{{- define "planet-call-exporter-sidecar.check" -}}
{{- $ports := .Values.ports }}
{{- if eq (int $ports.callEvents) (int $ports.metrics) }}
{{- fail (printf "ports.callEvents and ports.metrics are both %v: give each listener a port of its own" $ports.metrics) }}
{{- end }}
{{- if or (hasPrefix "127." .Values.listenAddress) (eq "[::1]" .Values.listenAddress) }}
{{- fail (printf "listenAddress is %s, at which neither probes nor the service reach the pod: leave it empty" .Values.listenAddress) }}
{{- end }}
{{- range $name := list "durationBuckets" "setupBuckets" }}
{{- $before := 0.0 }}
{{- range index $.Values.flags $name }}
{{- if le (float64 .) $before }}
{{- fail (printf "flags.%s has %v after %v: expected ascending bounds, each once" $name . $before) }}
{{- end }}
{{- $before = float64 . }}
{{- end }}
{{- end }}
{{- with .Values.flags.forwardTo }}
{{- $host := (urlParse .).host }}
{{- range $port := list $ports.callEvents $ports.metrics }}
{{- range list "127.0.0.1" "localhost" "[::1]" }}
{{- if eq $host (printf "%s:%v" . $port) }}
{{- fail (printf "flags.forwardTo is %s, which is the exporter itself: expected the port of the service behind" $.Values.flags.forwardTo) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (has "ReadWriteOncePod" .Values.state.claimTemplate.accessModes) (gt (len .Values.state.claimTemplate.accessModes) 1) }}
{{- fail (printf "state.claimTemplate.accessModes has %s: ReadWriteOncePod has to be the only one" (join ", " .Values.state.claimTemplate.accessModes)) }}
{{- end }}
{{- $names := list }}
{{- range include "planet-call-exporter-sidecar.env" . | fromYamlArray }}
{{- if has .name $names }}
{{- fail (printf "extraEnv has %s, which is there already: set it once, and by the chart's value where there is one" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- include "planet-call-exporter-sidecar.checkResources" . }}
{{- include "planet-call-exporter-sidecar.checkMemory" . }}
{{- include "planet-call-exporter-sidecar.checkDisk" . }}
{{- end }}

{{/* A request is not above its limit. */}}
{{- define "planet-call-exporter-sidecar.checkResources" -}}
{{- $requests := (.Values.resources | default dict).requests | default dict }}
{{- $limits := (.Values.resources | default dict).limits | default dict }}
{{- range $resource, $unit := dict "cpu" "millicores" "memory" "bytes" "ephemeral-storage" "bytes" }}
{{- $request := get $requests $resource }}
{{- $limit := get $limits $resource }}
{{- $template := printf "planet-call-exporter-sidecar.%s" $unit }}
{{- if and $request $limit (gt (include $template $request | int64) (include $template $limit | int64)) }}
{{- fail (printf "resources.requests.%s is %v and resources.limits.%s %v: expected a request that is not above the limit" $resource $request $resource $limit) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The limit is not below what the flags allow in the worst case: the table of docs/operations.md, under Memory. */}}
{{- define "planet-call-exporter-sidecar.checkMemory" -}}
{{- $limit := ((.Values.resources | default dict).limits | default dict).memory }}
{{- if $limit }}
{{- $flags := .Values.flags }}
{{- $connection := ternary 152 472 (empty $flags.forwardTo) | mul 1024 }}
{{- $needed := mul 20 1048576 }}
{{- $needed = len ($flags.services | default list) | mul 4 1048576 | add $needed }}
{{- $needed = $flags.seenMax | default 500000 | int64 | mul 150 | add $needed }}
{{- $needed = $flags.maxSeries | default 10000 | int64 | mul 8192 | add $needed }}
{{- $needed = $flags.maxConnections | default 1024 | int64 | mul $connection | add $needed }}
{{- if not .Values.state.enabled }}
{{- $backlog := include "planet-call-exporter-sidecar.bytes" ($flags.backlogMaxBytes | default "64MiB") | int64 }}
{{- $needed = add $needed (div (mul 3 $backlog) 2) }}
{{- else }}
{{- $needed = add $needed (mul 16 1048576) }}
{{- /* What is in an emptyDir in memory counts as the container's. */}}
{{- $isInMemory := and (eq ((.Values.state.emptyDir | default dict).medium | default "") "Memory") (not (include "planet-call-exporter-sidecar.stateOutlivesPod" .)) }}
{{- if $isInMemory }}
{{- $needed = add $needed (include "planet-call-exporter-sidecar.diskNeeded" . | int64) }}
{{- end }}
{{- end }}
{{- if gt $needed (include "planet-call-exporter-sidecar.bytes" $limit | int64) }}
{{- $mebibytes := div (add $needed 1048575) 1048576 }}
{{- fail (printf "resources.limits.memory is %v, and the flags allow %d MiB in the worst case (docs/operations.md, under Memory): expected %dMi or more, or less by flags.maxConnections, flags.maxSeries or flags.seenMax" $limit $mebibytes $mebibytes) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The volume has room for the journal. */}}
{{- define "planet-call-exporter-sidecar.checkDisk" -}}
{{- with .Values.state }}
{{- $name := ternary "state.claimTemplate.size" "state.emptyDir.sizeLimit" .claimTemplate.enabled }}
{{- $size := ternary .claimTemplate.size (.emptyDir | default dict).sizeLimit .claimTemplate.enabled }}
{{- $needed := include "planet-call-exporter-sidecar.diskNeeded" $ | int64 }}
{{- if and .enabled (not .existingClaim) $size (gt $needed (include "planet-call-exporter-sidecar.bytes" $size | int64)) }}
{{- $mebibytes := div (add $needed 1048575) 1048576 }}
{{- fail (printf "%s is %v, and the state takes up to %d MiB: expected %dMi or more, or less by flags.stateMaxBytes" $name $size $mebibytes $mebibytes) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The bytes that a state directory takes: docs/operations.md, under How much disk. */}}
{{- define "planet-call-exporter-sidecar.diskNeeded" -}}
{{ include "planet-call-exporter-sidecar.bytes" (.Values.flags.stateMaxBytes | default "1GiB") | int64 | add (mul 32 1048576) }}
{{- end }}

{{/* The number of bytes of a quantity of Kubernetes, such as 2Gi, or of a flag's value, such as 1GiB. */}}
{{- define "planet-call-exporter-sidecar.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "P" 1000000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 -}}
{{- /* A number that is large would be written with an exponent. */ -}}
{{- $text := ternary (int64 . | toString) (toString .) (kindIs "float64" .) -}}
{{- $number := regexFind "^[0-9.]+([eE][0-9]+)?" $text -}}
{{ mulf (float64 $number) (index $units (trimPrefix $number $text | trimSuffix "B")) | int64 }}
{{- end }}

{{- define "planet-call-exporter-sidecar.millicores" -}}
{{- $text := toString . -}}
{{ hasSuffix "m" $text | ternary (trimSuffix "m" $text | float64) (mulf (float64 $text) 1000) | int64 }}
{{- end }}
