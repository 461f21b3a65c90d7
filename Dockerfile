# syntax=docker/dockerfile:1
# The program in an image without a shell or a package manager, run by a user who owns nothing but the data folder. Its
# file system may be read-only; what it writes (SQLite, where that is used) lies in the volume /var/lib/fintech.
#
#   docker build --tag fintech .
#   docker run --rm --network host --volume fintech:/var/lib/fintech fintech
#
# The versions are those of rust-toolchain.toml and Cargo.toml; scripts/lint-deploy compares them.
ARG RUST_VERSION=1.95.0

FROM rust:${RUST_VERSION}-slim-bookworm AS build
# For the C of OpenSSL, librdkafka, SQLite and zstd: a compiler, make, and perl for OpenSSL's configure.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential=12.* perl=5.* pkg-config=1.* \
    && rm -rf /var/lib/apt/lists/*
# The toolchain that the image has: otherwise rustup fetches the components for developers, too. zlib is linked into the
# program, because the image that runs it has none.
ARG RUST_VERSION
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION} LIBZ_SYS_STATIC=1
WORKDIR /src
COPY . .
# There is no git tree here to ask: docker build --build-arg FINTECH_REVISION=$(git rev-parse HEAD)
ARG FINTECH_REVISION=unknown
ENV FINTECH_COMMIT=${FINTECH_REVISION}
# What was compiled stays in caches of the builder, so a change of the program does not build its dependencies again.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --package fintech \
    && install -D target/release/fintech /image/usr/local/bin/fintech \
    && install -d /image/var/lib/fintech

FROM gcr.io/distroless/cc-debian12:nonroot
ARG FINTECH_VERSION=0.1.0
ARG FINTECH_REVISION=unknown
LABEL org.opencontainers.image.title="FintechPlatform" \
    org.opencontainers.image.description="Payments for merchants on a double-entry ledger with an exact event log" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${FINTECH_VERSION}" \
    org.opencontainers.image.revision="${FINTECH_REVISION}"
COPY --from=build --chown=0:0 /image/usr/local/bin/fintech /usr/local/bin/fintech
COPY --from=build --chown=65532:65532 /image/var/lib/fintech /var/lib/fintech
WORKDIR /var/lib/fintech
VOLUME /var/lib/fintech
USER 65532:65532
# The API; the console, metrics and probes.
EXPOSE 5153 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/local/bin/fintech", "health"]
ENTRYPOINT ["/usr/local/bin/fintech"]
CMD ["serve"]
