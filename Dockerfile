# The image: one static program and CA certificates, nothing else; about 10 MB.
#
#   docker build --tag iam-key-exporter .
#   docker run --rm --publish 19674:19674 iam-key-exporter serve --demo
#
# It is built natively for the platform of the builder (amd64, arm64): cross-compiling would need a C compiler for the other
# one, and with emulation the link-time optimisation takes hours.

# Alpine's target is linked with musl, statically, by default. Another image with Rust, a C compiler and CA certificates
# works as well; for one with glibc add
#   --build-arg CARGO_BUILD_TARGET=x86_64-unknown-linux-gnu --build-arg RUSTFLAGS="-C target-feature=+crt-static"
# The digest is that of the tag, for both platforms: the same sources are built with the same compiler.
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-alpine@sha256:606fd313a0f49743ee2a7bd49a0914bab7deedb12791f3a846a34a4711db7ed2

FROM ${RUST_IMAGE} AS build
# Both are passed to cargo through the environment, if given. By default the program contains no path of the builder.
ARG CARGO_BUILD_TARGET
ARG RUSTFLAGS="--remap-path-prefix=/usr/local/cargo/registry/src=/crates"
WORKDIR /build

# A separate layer for the dependencies: they are compiled when Cargo.lock changes, not with every change of src/.
# Tests and benchmarks are not part of the context, so they are removed from the manifest.
COPY Cargo.toml Cargo.lock ./
RUN awk '/^\[/ { skip = /^\[\[(bench|test|example)\]\]/ } !skip' Cargo.toml >Cargo.toml.new \
    && mv Cargo.toml.new Cargo.toml \
    && mkdir src \
    && touch src/lib.rs \
    && echo 'fn main() {}' >src/main.rs \
    && cargo build --release --locked

COPY src src
ARG REVISION=unknown
# cargo compares modification times: without `touch` it could treat the empty program above as newer than the sources.
RUN touch src/lib.rs src/main.rs \
    && IAM_KEY_EXPORTER_REVISION="$REVISION" cargo install --locked --path . --root /out --no-track \
    && mkdir -p /root-of-image/etc/ssl/certs \
    && cp /out/bin/iam-key-exporter /root-of-image/ \
    && cp /etc/ssl/certs/ca-certificates.crt /root-of-image/etc/ssl/certs/

FROM scratch
COPY --from=build /root-of-image/ /
# Numeric: Kubernetes' runAsNonRoot cannot verify a user name.
USER 65534:65534
EXPOSE 19674
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/iam-key-exporter", "healthcheck"]
ENTRYPOINT ["/iam-key-exporter"]
CMD ["serve"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="iam-key-exporter" \
      org.opencontainers.image.description="Prometheus exporter that continuously checks AWS IAM users for more than one active access key" \
      org.opencontainers.image.url="https://github.com/iam-key-exporter/iam-key-exporter" \
      org.opencontainers.image.source="https://github.com/iam-key-exporter/iam-key-exporter" \
      org.opencontainers.image.documentation="https://github.com/iam-key-exporter/iam-key-exporter/blob/main/docs/docker.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
