#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds ./caddy from this checkout: Caddy in go.mod's version with the relay modules in it. Only Go is needed: xcaddy
# is pinned in tools/go.mod and fetched by Go itself.
#
#   ./xcaddy.sh                                      build ./caddy
#   ./xcaddy.sh --with github.com/mholt/caddy-l4     build it with another module too; arguments go to xcaddy build
#   ./xcaddy.sh run --config Caddyfile.example       build it, then run it; arguments go to caddy run
#
# CADDY_VERSION builds with another version of Caddy. On Windows without a bash: go build ./cmd/caddy
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
module=github.com/caddy-relay/caddy-relay

say() { printf 'xcaddy.sh: %s\n' "$*" >&2; }

if ! command -v go >/dev/null; then
	say "no go command found: install Go from https://go.dev/dl/, then run this again"
	exit 1
fi

# Go keeps its caches and Caddy its data below HOME. Without a usable one, both go below the checkout.
if [[ -z ${HOME:-} || ! -w ${HOME:-} ]]; then
	export HOME="$root/.cache/home"
	mkdir -p "$HOME"
	say "HOME is not a directory that can be written to; using $HOME"
fi

binary="$root/caddy$(go env GOEXE)"

# with_xcaddy builds with xcaddy. The version v0.0.0 keeps Go from asking a proxy about the module that is replaced by
# this checkout anyway.
with_xcaddy() {
	local version
	version=${CADDY_VERSION:-$(go list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2)} &&
		go tool -modfile=tools/go.mod xcaddy build "$version" --with "$module@v0.0.0=." --output "$binary" "$@"
}

# without_xcaddy builds the same binary from cmd/caddy, whose imports are what xcaddy would write.
without_xcaddy() {
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -tags nobadger,nomysql,nopgx -o "$binary" ./cmd/caddy
}

build() {
	cd "$root"
	say "building $binary (the first time takes a few minutes)"
	with_xcaddy "$@" && return
	if (($# > 0)) || [[ -n ${CADDY_VERSION:-} ]]; then
		say "xcaddy failed (see above), and go build knows neither $* nor another version of Caddy"
		return 1
	fi
	say "xcaddy could not be fetched or failed (see above); building with go build ./cmd/caddy instead"
	without_xcaddy
}

if [[ ${1:-} == run ]]; then
	shift
	(build)
	exec "$binary" run "$@"
fi
(build "$@")
say "built $binary; run it with: $binary run --config Caddyfile.example"
