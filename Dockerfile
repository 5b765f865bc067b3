# syntax=docker/dockerfile:1

# The image of planet-call-exporter: the program, the libraries that it is linked with, and the certificates of authorities.
#
#   docker build --tag registry.example.com/planet-call-exporter:0.2.0 .
#   buildah build --format docker --tag registry.example.com/planet-call-exporter:0.2.0 .
#
# An image in the OCI format, buildah's default, has no health check. What else a build may be told:
#
# - Base images by digest. They are of the same release of Debian, so that the program finds the C library that it was linked with.
#     --build-arg RUST_IMAGE=docker.io/library/rust@sha256:... --build-arg BASE_IMAGE=gcr.io/distroless/cc-debian13@sha256:...
# - The same image again. The same sources yield the same program, and with base images by digest this yields the same image:
#     docker buildx build --output type=image,rewrite-timestamp=true --build-arg SOURCE_DATE_EPOCH=...
# - The commit that it is built from, for a label.
#     --build-arg REVISION="$(git rev-parse HEAD)"
# - Several architectures. Each is compiled on a machine of its own or under emulation, and shares nothing with the others.
#     docker buildx build --platform linux/amd64,linux/arm64 --push ...
#     buildah build --platform linux/amd64,linux/arm64 --manifest ...
# - A list of what is in it (SBOM). The crates are in that of the context, which has Cargo.lock.
#     docker buildx build --sbom=true --push ...
#     buildah build --sbom syft-spdx --sbom-output planet-call-exporter.spdx.json ...
# - A proxy for the download of crates, and a PEM file with the authorities to believe meanwhile if that proxy intercepts TLS. Neither
#   is in the image.
#     --build-arg HTTPS_PROXY=http://proxy.example.com:3128 --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt
ARG RUST_IMAGE=docker.io/library/rust:1.95-trixie
ARG BASE_IMAGE=gcr.io/distroless/cc-debian13:nonroot
ARG BUILDKIT_SBOM_SCAN_CONTEXT=true

FROM ${RUST_IMAGE} AS build
WORKDIR /src
# Where the sources were is no part of the program.
ENV RUSTFLAGS="--remap-path-prefix=/src=/planet-call-exporter --remap-path-prefix=/usr/local/cargo=/cargo"
# The dependencies are a layer of their own, made with an empty program. Cargo compares times of modification, and sources may be
# older than this layer, so nothing of the empty program stays. A cache of target/ would keep what layers don't: programs of other
# sources. Benches and tests aren't here, so neither are their targets.
COPY Cargo.toml Cargo.lock ./
RUN --mount=type=secret,id=ca \
    if [ -f /run/secrets/ca ]; then export CARGO_HTTP_CAINFO=/run/secrets/ca; fi \
    && sed -i '/^\[\[\(bench\|test\)\]\]$/,/^$/d' Cargo.toml \
    && mkdir src && touch src/lib.rs && echo 'fn main() {}' >src/main.rs \
    && cargo build --locked --release --no-default-features --bin planet-call-exporter \
    && cargo clean --locked --offline --release --package planet-call-exporter \
    && rm -r src
COPY src src
# Copied as a whole below: of a folder that is named in COPY --from, builders take what is in it, and not its owner and mode. A new
# volume that is mounted over the state directory has them too: it belongs to the user below, and to nobody else.
RUN cargo build --locked --offline --release --no-default-features --bin planet-call-exporter \
    && install -D target/release/planet-call-exporter /image/usr/local/bin/planet-call-exporter \
    && install -d /image/var/lib \
    && install -d -o 65532 -g 65532 -m 0700 /image/var/lib/planet-call-exporter

FROM ${BASE_IMAGE}
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="planet-call-exporter" \
      org.opencontainers.image.description="Telemetry sidecar for LINE Planet: turns call events into Prometheus metrics, OTLP metrics and spans" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/ /
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 20200 9464
# Is it alive? Of another port or TLS it knows by PLANET_ADMIN_LISTEN and PLANET_ADMIN_WEB_CONFIG_FILE, not by flags.
HEALTHCHECK --interval=30s --timeout=6s --start-period=2m CMD ["/usr/local/bin/planet-call-exporter", "probe", "/livez"]
ENTRYPOINT ["/usr/local/bin/planet-call-exporter"]
