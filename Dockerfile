# wellorder in a container: one program on glibc, no shell needed to run it, nobody's root.
#
#   docker build -t wellorder:0.1.0 .
#
# Both bases are pinned by exact tag, not by digest. To pin them, look their digests up
# (`docker buildx imagetools inspect TAG`) and write them behind the tags.

# What the tests run with; the oldest that will do is `rust-version` in Cargo.toml.
ARG RUST_VERSION=1.95.0
ARG DEBIAN_VERSION=12.12

FROM rust:${RUST_VERSION}-slim-bookworm AS build
# SQLite and librdkafka are compiled; OpenSSL is only linked when a feature asks for it, below.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends build-essential cmake libssl-dev perl pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Features of the program besides the default ones, apart by commas. This one links OpenSSL.
ARG FEATURES="kafka-tls"
# The caches outlive a build, so the next one compiles only what changed. What lies in a cache is not in the image: copy it.
RUN --mount=type=cache,id=wellorder-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=wellorder-target,target=/src/target \
    cargo build --locked --profile dist --package wellorder --features "${FEATURES}" \
 && install -D -m 0755 target/dist/wellorder /out/wellorder

FROM debian:${DEBIAN_VERSION}-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="wellorder" \
      org.opencontainers.image.description="Takes orders in exactly once, and tells everyone who follows, in order" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# The number is what Kubernetes checks for `runAsNonRoot`, and what owns the volume.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libssl3 \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --system --gid 10001 wellorder \
 && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin wellorder \
 && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /out/wellorder /usr/local/bin/wellorder
COPY LICENSE /usr/share/doc/wellorder/LICENSE
USER 10001:10001
WORKDIR /data
# A folder below the volume: the program makes it, for its user alone, whatever the volume's own rights are.
ENV WELLORDER_DATA=/data/wellorder
# The only place that is written to; everything else may be mounted read-only.
VOLUME ["/data"]
# The ports that the files in deploy/ use: requests, and health and metrics for operators.
EXPOSE 3000 9090
# Asks the listener for operators, which is plain HTTP on loopback whatever the other one speaks.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/wellorder", "healthcheck", "--url", "http://127.0.0.1:9090"]
# SIGTERM begins the drain (10 s); give it more than that before it is killed.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/wellorder"]
# Starts with an address and a login, or says what is missing.
CMD ["serve"]
