# The promises, one function for each situation. Sourced by run.

# The documented sample of LINE Planet, but for its session ID.
sample='type=V&from_user_id=9286&from_service_id=caller-service-id&to_user_id=2809&to_service_id=callee-service-id&setup_time=1582527400&start_time=1582527404&end_time=1582527434&duration=30&terminate=16&srcip=1.2.3.4&dstip=1.2.3.5&stid=voip.next&rel_code=1&rel_code_str=NORMAL&billing_sec=25&rc_idc=KR&disconnect_reason=1001&releaser_type=1&app_svr_data=appSvrData'

# build NAME OPTION...: with the authorities of this machine, should a proxy intercept TLS.
build() {
    local name=$1 log=$work/build.log from=$SECONDS
    shift
    if [ -f /etc/ssl/certs/ca-certificates.crt ]; then set -- "$@" --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt; fi
    buildah build --format docker --layers --pull-never --isolation oci --runtime "$(command -v runc)" --network host "$@" \
        --tag "$name" "$work/context" >"$log" 2>&1 || {
        tail -n 20 "$log"
        missing "the image cannot be built: see $log"
    }
    printf 'built in %s s: %s\n' $((SECONDS - from)) "$(grep 'Finished' "$log" | tail -n 1)"
}

# in_image NAME COMMAND...: runs a command of this machine at the root of an image.
in_image() {
    local container code=0
    container=$(buildah from --pull-never "$1")
    shift
    (cd "$(buildah mount "$container")" && "$@") || code=$?
    buildah rm "$container" >/dev/null
    return $code
}
has_line() {
    if in_image "$1" grep -aqF "$2" usr/local/bin/planet-call-exporter; then echo yes; else echo no; fi
}

the_image() {
    printf 'size of the image, with the base image: %s\n' "$(buildah images --format '{{.Size}}' "$1")"
    expect "owner and mode of $state" "65532:65532 700" "$(in_image "$1" stat -c '%u:%g %a' ".$state")"
    expect "owner and mode of its parent, as in the base image" "0:0 755" "$(in_image "$1" stat -c '%u:%g %a' ./var/lib)"
    expect "user" 65532:65532 "$(buildah inspect --type image --format '{{.OCIv1.Config.User}}' "$1")"
    expect "health check" "[CMD /usr/local/bin/planet-call-exporter probe /livez]" \
        "$(buildah inspect --type image --format '{{with .Docker.Config.Healthcheck}}{{.Test}}{{end}}' "$1")"
    expect "the program is that of the source" yes "$(has_line "$1" "$2")"
}

# Without a single one, nothing can be downloaded. Cargo says then where it looked.
the_authorities() {
    local log=$work/authorities.log
    : >"$work/no.pem"
    buildah build --no-cache --pull-never --isolation oci --runtime "$(command -v runc)" --network host --target build \
        --secret "id=ca,src=$work/no.pem" "$work/context" >"$log" 2>&1 || true
    expect "cargo believes the authorities that are given, and no others" "error setting certificate file: /run/secrets/ca" \
        "$(grep -o 'error setting certificate file: [^)]*' "$log" | head -n 1)"
}

# a_pod NAME: with a network that it shares, and nothing outside.
a_pod() { podman pod create --name "$1" --network none >/dev/null; }

# inside POD COMMAND...: runs a command of this machine in a pod's network.
inside() {
    local pid
    pid=$(podman inspect --format '{{.State.Pid}}' "$(podman pod inspect --format '{{.InfraContainerID}}' "$1")")
    shift
    nsenter --target "$pid" --net "$@"
}

# exporter IMAGE POD FLAG...: as docs/security.md and the charts have it run. Its volume is new.
exporter() {
    local image=$1 pod=$2
    shift 2
    quietly podman run --detach --name "$pod-exporter" --pod "$pod" --pull never --read-only --cap-drop all --security-opt no-new-privileges \
        --memory 512m --health-interval disable --stop-timeout 30 --volume "$pod:$state" "$image" --state-dir "$state" "$@"
}
call() { inside "$1" curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:20200/call_event?sid=$2&$sample"; }
counted() { { inside "$1" curl -s http://127.0.0.1:9464/metrics || true; } | awk '/^planet_calls_total\{/ { n += $NF } END { print n + 0 }'; }
ready() { within 60 inside "$1" curl -fs http://127.0.0.1:9464/readyz; }
exit_code() { podman inspect --format '{{.State.ExitCode}}' "$1"; }

a_container() {
    a_pod alone
    exporter "$1" alone
    local exec=(podman exec alone-exporter /usr/local/bin/planet-call-exporter)
    expect "it becomes ready, read-only and without capabilities" yes "$(ready alone)"
    expect "owner and mode of a new volume" "65532:65532 700" \
        "$(stat -c '%u:%g %a' "$(podman volume inspect --format '{{.Mountpoint}}' alone)")"
    expect "podman healthcheck" 0 "$(code_of podman healthcheck run alone-exporter)"
    expect "probe /readyz in the container" 0 "$(code_of "${exec[@]}" probe /readyz)"
    expect "probe of what is not there" 1 "$(code_of "${exec[@]}" probe /no-such-path)"
    expect "the sample call is answered" 200 "$(call alone 6364e8b3-bdac-436e-9631-0bce2498ce0c)"
    expect "the sample call is counted" 1 "$(counted alone)"
    quietly podman stop --time 20 alone-exporter
    expect "exit code after SIGTERM, within 20 s" 0 "$(exit_code alone-exporter)"
}

killed_under_load() {
    cargo build --quiet --bin call-simulator
    a_pod loaded
    exporter "$1" loaded
    expect "it becomes ready" yes "$(ready loaded)"
    # Until an answer comes, a call is sent again, as LINE Planet does.
    inside loaded target/debug/call-simulator --calls 900 --rate 100 --connections 4 --repeat-share 0.05 --retry-for 2m --json \
        >"$work/simulator.json" 2>"$work/simulator.log" &
    local simulator=$! kills before code=0
    for kills in 1 2 3; do
        before=$(counted loaded)
        expect "kill -9, number $kills: calls are coming in" yes "$(within 30 more_than "$before" loaded)"
        killed loaded-exporter
        expect "it becomes ready again" yes "$(ready loaded)"
    done
    wait "$simulator" || code=$?
    expect "exit code of the simulator" 0 "$code"
    expect "calls counted, of 900 that were sent until they were acknowledged" 900 "$(counted loaded)"
    expect "calls that were not acknowledged" 0 "$(sed -n 's/^ *"unacknowledged": \([0-9]*\),$/\1/p' "$work/simulator.json")"
    killed loaded-exporter
    expect "it becomes ready after another kill -9" yes "$(ready loaded)"
    expect "calls counted after another kill -9" 900 "$(counted loaded)"
}
killed() {
    quietly podman kill --signal KILL "$1"
    expect "it is dead" yes "$(within 30 not_running "$1")"
    quietly podman start "$1"
}
more_than() { [ "$(counted "$2")" -gt "$1" ]; }
not_running() { [ "$(podman inspect --format '{{.State.Running}}' "$1")" = false ]; }

# A sidecar starts before the service and ends after it; when its pod is deleted, the hook of its container has it drain first.
beside_a_service() {
    a_pod sidecar
    exporter "$1" sidecar --state-ephemeral true --forward-to http://127.0.0.1:8080
    expect "a sidecar is alive before its service" yes "$(within 60 inside sidecar curl -fs http://127.0.0.1:9464/livez)"
    expect "a call before the service is there" 200 "$(call sidecar 11111111-1111-4111-8111-111111111111)"
    quietly podman run --detach --init --name service --pod sidecar --pull never "$service_image" sh -c \
        'mkdir /www && echo >/www/call_event && echo hello >/www/hello && exec busybox httpd -f -vv -p 8080 -h /www'
    expect "what is no call event is passed on" hello "$(within 30 passed_on >/dev/null && passed_on)"
    expect "a call beside the service" 200 "$(call sidecar 22222222-2222-4222-8222-222222222222)"
    expect "the service has both calls" yes "$(within 60 has_calls 2)"
    expect "drain in the container" 0 "$(code_of podman exec sidecar-exporter /usr/local/bin/planet-call-exporter drain)"
    expect "it stays ready while it drains" 200 "$(inside sidecar curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9464/readyz)"
    expect "a call while it drains" 200 "$(call sidecar 33333333-3333-4333-8333-333333333333)"
    quietly podman stop --time 20 service
    expect "a call after the service's end is not acknowledged" 503 "$(call sidecar 44444444-4444-4444-8444-444444444444)"
    quietly podman stop --time 20 sidecar-exporter
    expect "exit code of the sidecar, which ends last" 0 "$(exit_code sidecar-exporter)"
    expect "the service has all calls that were acknowledged, and each once" 3 "$(calls_of_service)"
}
passed_on() { inside sidecar curl -fs http://127.0.0.1:20200/hello; }
calls_of_service() { podman logs service 2>&1 | grep -c 'url:/call_event'; }
has_calls() { [ "$(calls_of_service)" = "$1" ]; }

# As tar, rsync -t and cp -p leave it: changed, and older than what was built of it before.
a_changed_source() {
    local files file
    files=$(grep -rlF "$line" "$work/context/src") || missing "no source has this line any more: $line"
    for file in $files; do
        sed -i "s/$line/$changed/" "$file"
        touch -d 2020-01-01 "$file"
    done
}

# The names that the Dockerfile has are gone meanwhile, so that it cannot be built but from what is given.
build_by_digest() {
    local arguments=() pair name
    for pair in "RUST_IMAGE=$rust_stand_in" "BASE_IMAGE=$base_stand_in"; do
        name=${pair#*=}
        arguments+=(--build-arg "${pair%%=*}=${name%:*}@$(buildah inspect --type image --format '{{.FromImageDigest}}' "$name")")
    done
    podman untag "$rust_image" "$rust_image"
    podman untag "$base_image" "$base_image"
    build "$1" "${arguments[@]}"
}
