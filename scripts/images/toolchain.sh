#!/bin/sh
# toolchain.sh ARCH DRIFT: in the Dockerfile, installs what builds the agent for ARCH (amd64 or arm64). The compiler and the C
# library that go into the plugin have the versions of debian.lock, so that the plugin has the same bytes; with DRIFT
# (any text) those that Debian has today, where it has not the locked ones any more.
set -eu
arch=$1 drift=$2
here=$(dpkg --print-architecture)
export DEBIAN_FRONTEND=noninteractive
[ "$arch" = "$here" ] || dpkg --add-architecture "$arch"
apt-get -qq update
locked=$(awk -v here="$here" -v arch="$arch" '$1 == "build" && ($2 == here || $2 == arch && $3 == "musl-dev") {
  print $3 ":" $2 "=" $4 }' /images/debian.lock)
packages=''
for package in $locked; do
  name=${package%%=*}
  if apt-cache show --no-all-versions "$name" 2>/dev/null | grep -qxF "Version: ${package#*=}"; then
    packages="$packages $package"
  else
    [ -n "$drift" ] || { echo "toolchain: Debian has no $package any more: npm run images -- --lock" >&2; exit 1; }
    echo "toolchain: not $package, but today's" >&2
    packages="$packages $name"
  fi
done
[ "$arch" = "$here" ] || packages="$packages $(awk -v here="$here" '$1 == "cross" && $2 == here { print $3 }' /images/debian.lock)"
# shellcheck disable=SC2086
apt-get -qq install -y --no-install-recommends $packages >/dev/null
rm -rf /var/lib/apt/lists/*
