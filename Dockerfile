# flock's two images, from Debian 13 and npm alone. `npm run images -- DIR` builds both, the same bytes each time
# (docs/packaging.md); so does, but for the bytes,
#   docker build --target agent -t flock-agent:0.1.0 . && docker build --target bird -t flock-bird:0.1.0 .
# Neither has a package manager: what Debian gives is unpacked from the packages that scripts/images/debian.lock names.
# Every RUN is on the machine that builds, so that an image for the other architecture needs no emulation.
ARG BASE=docker.io/library/debian:trixie-slim

FROM --platform=$BUILDPLATFORM ${BASE} AS npm
RUN apt-get -qq update \
 && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends ca-certificates npm make >/dev/null \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /flock
COPY package.json package-lock.json .npmrc ./
ARG NPM_CONFIG_REGISTRY=
# As scripts/setup.sh does, without install scripts; a current Node comes with the packages. The secret is for a network that
# looks into TLS.
RUN --mount=type=secret,id=ca if [ -e /run/secrets/ca ]; then export NODE_EXTRA_CA_CERTS=/run/secrets/ca; fi; \
    [ -n "$NPM_CONFIG_REGISTRY" ] || unset NPM_CONFIG_REGISTRY; \
    npm ci --omit=dev --omit=peer --ignore-scripts --loglevel=error && rm -rf /root/.npm

FROM npm AS build
ARG TARGETARCH=amd64 DRIFT=
COPY scripts/images/debian.lock scripts/images/toolchain.sh /images/
RUN sh /images/toolchain.sh "$TARGETARCH" "$DRIFT"
COPY scripts/images/foreign.mjs /images/
RUN --mount=type=secret,id=ca if [ -e /run/secrets/ca ]; then export NODE_EXTRA_CA_CERTS=/run/secrets/ca; fi; \
    [ -n "$NPM_CONFIG_REGISTRY" ] || unset NPM_CONFIG_REGISTRY; \
    node /images/foreign.mjs "$(echo "$TARGETARCH" | sed s/amd64/x64/)" && rm -rf /root/.npm
COPY tsconfig.json LICENSE ./
COPY cni cni
COPY scripts scripts
COPY src src
# another value has everything from here on built anew: to compare
ARG AGAIN=
RUN sh scripts/images/agent.sh "$TARGETARCH" /agent

FROM --platform=$BUILDPLATFORM ${BASE} AS debian
ARG TARGETARCH=amd64 DRIFT= AGAIN=
COPY scripts/images/debian.lock scripts/images/rootfs.sh /images/
RUN sh /images/rootfs.sh agent "$TARGETARCH" /agent "$DRIFT"
RUN sh /images/rootfs.sh bird "$TARGETARCH" /bird "$DRIFT"

FROM build AS described
COPY --from=debian /agent/var/lib/dpkg/status.d /debian/agent
COPY --from=debian /bird/var/lib/dpkg/status.d /debian/bird
RUN node scripts/images/sbom.mjs flock-agent /debian/agent /flock/packages.json >/agent.spdx.json \
 && node scripts/images/sbom.mjs flock-bird /debian/bird >/bird.spdx.json

FROM scratch AS agent
COPY --from=debian /agent /
COPY --from=build /agent /
COPY --from=described /agent.spdx.json /usr/share/sbom/flock-agent.spdx.json
ARG REVISION=unknown
LABEL org.opencontainers.image.title="flock-agent" \
      org.opencontainers.image.description="flock's agent and CNI plugin: routed dual-stack pods for Kubernetes" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.vendor="flock" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="scratch"
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin
# root, with the few capabilities that the DaemonSet gives: Kubernetes gives none to another user of a container
USER 0
CMD ["flock-agent", "run"]

FROM scratch AS bird
COPY --from=debian /bird /
COPY --from=described /bird.spdx.json /usr/share/sbom/flock-bird.spdx.json
ARG REVISION=unknown
LABEL org.opencontainers.image.title="flock-bird" \
      org.opencontainers.image.description="Debian's BIRD 2, unchanged, for flock's DaemonSet" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.vendor="flock" \
      org.opencontainers.image.licenses="GPL-2.0-or-later" \
      org.opencontainers.image.base.name="scratch"
ENV PATH=/usr/sbin:/usr/bin
USER 0
CMD ["bird", "--version"]
