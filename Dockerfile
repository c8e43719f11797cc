# syntax=docker/dockerfile:1
#
# One static binary on an empty base:
#
#	docker build --tag caddy-relay .
#	docker run --rm --read-only --cap-drop ALL --publish 8080:8080 \
#		--volume "$PWD/Caddyfile:/etc/caddy/Caddyfile:ro" --volume caddy_data:/data caddy-relay
#
# The binary has no file capability, because with one it could not be started where all capabilities are dropped. So it
# listens on ports over 1024; http_port and https_port say which.

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
	CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
	go build -trimpath -ldflags '-s -w' -tags nobadger,nomysql,nopgx -o /out/caddy ./cmd/caddy
# An empty base can make no directories; a volume takes its first owner from the image.
RUN mkdir -p /root-of-image/data /root-of-image/config /root-of-image/srv

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /root-of-image/ /
COPY --from=build /out/caddy /usr/bin/caddy
COPY LICENSE /LICENSE

# Caddy's data directory: certificates, and the relay's messages under caddy/relay.
ENV XDG_DATA_HOME=/data
# The last configuration that was loaded through the admin endpoint.
ENV XDG_CONFIG_HOME=/config
# There is no user database to take it from, and Caddy warns where it is unset.
ENV HOME=/data
VOLUME /data /config

EXPOSE 8080 8443
USER 65532:65532
WORKDIR /srv

# No HEALTHCHECK: an empty base has no other program to ask with, and caddy has no command yet that asks a running one for
# its health. An orchestrator probes over the network; deploy/README.md says how.
ENTRYPOINT ["/usr/bin/caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
