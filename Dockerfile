# The images without Nix, from Debian and npm alone, in the layout of flake.nix:
#   docker build --target agent -t flock-agent:0.1.0 . && docker build --target bird -t flock-bird:0.1.0 .
FROM debian:bookworm-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates npm make gcc libc6-dev musl-tools \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /flock
COPY package.json package-lock.json .npmrc ./
# as scripts/setup.sh does, without install scripts; a current Node comes with the packages
RUN npm ci --omit=dev --omit=peer --ignore-scripts --loglevel=error
COPY tsconfig.json LICENSE ./
COPY cni cni
COPY scripts scripts
COPY src src
RUN cp node_modules/node-linux-*/bin/node /usr/local/bin/node \
 && node scripts/build.mjs

FROM debian:bookworm-slim AS agent
# Node's binary links libstdc++. Licences: /usr/lib/flock/LICENSE, THIRD-PARTY-NOTICES.txt; Debian's: /usr/share/doc/*/copyright
RUN apt-get update \
 && apt-get install -y --no-install-recommends libstdc++6 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/node /usr/local/bin/node
COPY --from=build /flock/dist /usr/lib/flock
RUN rm /usr/lib/flock/flock-agent.mjs.map \
 && ln -s /usr/lib/flock/flock-agent.mjs /usr/local/bin/flock-agent \
 && ln -s /usr/lib/flock/cni/flock /usr/local/bin/flock-cni \
 && flock-agent version
CMD ["flock-agent", "run"]

FROM debian:bookworm-slim AS bird
RUN apt-get update \
 && apt-get install -y --no-install-recommends bird2 \
 && rm -rf /var/lib/apt/lists/* \
 && test -s /usr/share/doc/bird2/copyright
CMD ["bird", "--version"]
