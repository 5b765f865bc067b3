# syntax=docker/dockerfile:1

# The image of planet-call-exporter: the program, the libraries that it is linked with, and the certificates of authorities.
#   docker build --tag registry.example.com/planet-call-exporter:0.2.0 .
# The same sources yield the same program. For the same image, pin both base images by digest (RUST_IMAGE, BASE_IMAGE) and
# give a SOURCE_DATE_EPOCH: docker buildx build --output type=image,rewrite-timestamp=true --build-arg SOURCE_DATE_EPOCH=...
# The two images are of the same release of Debian, so that the program finds the C library that it was linked with.
ARG RUST_IMAGE=docker.io/library/rust:1.95-trixie
ARG BASE_IMAGE=gcr.io/distroless/cc-debian13:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /src
# Where the sources were is no part of the program.
ENV RUSTFLAGS="--remap-path-prefix=/src=/planet-call-exporter --remap-path-prefix=/usr/local/cargo=/cargo"
COPY Cargo.toml Cargo.lock ./
COPY src src
# Cargo wants every target that Cargo.toml names to be there.
COPY benches/intake.rs benches/page.rs benches/incidents.rs benches/hostile.rs benches/
COPY tests/prometheus.rs tests/otlp_collector.rs tests/incidents.rs tests/
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --no-default-features --bin planet-call-exporter \
    && install -D target/release/planet-call-exporter /image/planet-call-exporter \
    && install -d -m 0700 /image/state

FROM ${BASE_IMAGE}
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="planet-call-exporter" \
      org.opencontainers.image.description="Telemetry sidecar for LINE Planet: turns call events into Prometheus metrics, OTLP metrics and spans" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/planet-call-exporter /usr/local/bin/planet-call-exporter
# A new volume that is mounted here belongs to the user below.
COPY --from=build --chown=65532:65532 /image/state /var/lib/planet-call-exporter
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 20200 9464
ENTRYPOINT ["/usr/local/bin/planet-call-exporter"]
