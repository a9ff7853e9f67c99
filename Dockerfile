# The one binary in a small image, without root. `docker build -t skytide .`
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked --package skytide && cp target/release/skytide /skytide && strip /skytide

FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /data skytide
COPY --from=build /skytide /usr/local/bin/skytide
USER skytide
WORKDIR /data
VOLUME /data
ENV STORE_DIR=/data API_ADDRESS=0.0.0.0:7780 SKYTIDE_LOG_FORMAT=json
EXPOSE 7780 7781
STOPSIGNAL SIGTERM
ENTRYPOINT ["skytide"]
CMD ["up"]
