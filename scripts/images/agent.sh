#!/bin/sh
# agent.sh ARCH ROOT: in the Dockerfile, builds the agent for ARCH (amd64 or arm64), and puts it and Node into ROOT as the
# image has them.
set -eu
arch=$1 root=$2
case $arch in
  amd64) cpu=x64 gnu=x86_64-linux-gnu musl=x86_64-linux-musl ;;
  arm64) cpu=arm64 gnu=aarch64-linux-gnu musl=aarch64-linux-musl ;;
  *) echo "agent: no architecture $arch: amd64 or arm64" >&2; exit 1 ;;
esac
install -D -m 755 node_modules/node-linux-"$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')"/bin/node /usr/local/bin/node
CC="$gnu-gcc -specs=/usr/lib/$musl/musl-gcc.specs" node scripts/build.mjs --arch "$cpu" --packages packages.json
install -D -m 755 node_modules/node-linux-"$cpu"/bin/node "$root/usr/local/bin/node"
mkdir -p "$root/usr/lib"
cp -r dist "$root/usr/lib/flock"
rm "$root/usr/lib/flock/flock-agent.mjs.map"
# there is no env(1) in the image
sed -i '1s|.*|#!/usr/local/bin/node|' "$root/usr/lib/flock/flock-agent.mjs"
ln -s ../../lib/flock/flock-agent.mjs "$root/usr/local/bin/flock-agent"
ln -s ../../lib/flock/cni/flock "$root/usr/local/bin/flock-cni"
[ "$arch" != "$(dpkg --print-architecture)" ] || node "$root/usr/lib/flock/flock-agent.mjs" version
