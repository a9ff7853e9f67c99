# The one binary on a base without shell or package manager, as a numeric user.
#
#   docker build -t skytide .        docker run -v skytide:/data -p 127.0.0.1:7780:7780 skytide
#
# tests/it/deploy and app/tests/cli/image.rs read this file; deploy/README.md says what they prove.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
# Dependencies are a layer of their own: it is rebuilt only when a manifest changes. The crates are empty meanwhile.
COPY Cargo.toml Cargo.lock ./
COPY core/Cargo.toml core/
COPY ingest/Cargo.toml ingest/
COPY dataflow/Cargo.toml dataflow/
COPY audit/Cargo.toml audit/
COPY scheduler/Cargo.toml scheduler/
COPY api/Cargo.toml api/
COPY simnet/Cargo.toml simnet/
COPY adapters/embedded/Cargo.toml adapters/embedded/
COPY adapters/nats/Cargo.toml adapters/nats/
COPY adapters/mongodb/Cargo.toml adapters/mongodb/
COPY app/Cargo.toml app/
COPY tests/Cargo.toml tests/
COPY state/Cargo.toml state/
RUN for crate in core ingest dataflow audit scheduler api simnet adapters/embedded adapters/nats adapters/mongodb app tests state; do mkdir $crate/src && touch $crate/src/lib.rs; done \
    && echo 'fn main() {}' > app/src/main.rs
RUN cargo build --release --locked --package skytide
COPY core/src core/src
COPY ingest/src ingest/src
COPY dataflow/src dataflow/src
COPY audit/src audit/src
COPY scheduler/src scheduler/src
COPY api/openapi.json api/
COPY api/src api/src
COPY simnet/src simnet/src
COPY adapters/embedded/src adapters/embedded/src
COPY adapters/nats/src adapters/nats/src
COPY adapters/mongodb/src adapters/mongodb/src
COPY app/src app/src
COPY state/src state/src
# Cargo compares times: the sources may be older than the empty crates.
RUN find . -name '*.rs' -not -path './target/*' -exec touch {} + \
    && cargo build --release --locked --package skytide \
    && install -D -s target/release/skytide /image/skytide && mkdir -m 750 /image/data

# glibc, libgcc, CA certificates, time zones, /tmp: no shell, no home with skeleton files.
FROM gcr.io/distroless/cc-debian12
COPY --from=build /image/skytide /usr/local/bin/skytide
# A new volume takes over the folder's owner. The folder is empty: whatever is in it belongs to Skytide.
COPY --from=build --chown=65532:65532 /image/data /data
USER 65532:65532
WORKDIR /data
VOLUME /data
ENV STORE_DIR=/data API_ADDRESS=0.0.0.0:7780 SKYTIDE_PROBE_ADDRESS=0.0.0.0:7781 SKYTIDE_LOG_FORMAT=json
EXPOSE 7780 7781
STOPSIGNAL SIGTERM
# Whether the process is alive: some engines restart what is unhealthy, and a service that waits for its relay must not be.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/skytide", "probe", "--live"]
ENTRYPOINT ["/usr/local/bin/skytide"]
CMD ["up"]
