#!/bin/sh
# lock.sh: inside a Debian 13, prints debian.lock: the packages of both images and the toolchain as Debian has them today.
set -eu
agent='base-files libc6 libgcc-s1 gcc-14-base libstdc++6'
bird='base-files libc6 libgcc-s1 gcc-14-base busybox-static bird2 libreadline8t64 libtinfo6 libssh-4 libssl3t64 zlib1g libzstd1
  libgssapi-krb5-2 libkrb5-3 libkrb5support0 libk5crypto3 libcom-err2 libkeyutils1'
build='gcc-14 gcc binutils musl-dev musl-tools'
dpkg --add-architecture amd64
dpkg --add-architecture arm64
apt-get -qq update
echo "# Debian 13's packages in the images, and what builds the plugin: npm run images -- --lock writes this file."
echo "# image arch package version sha256"
for arch in amd64 arm64; do
  for image in agent bird build; do
    eval "names=\$$image"
    for name in $names; do
      apt-cache show --no-all-versions "$name:$arch" | awk -v image=$image -v arch=$arch -v name="$name" '
        $1 == "Version:" { version = $2 } $1 == "SHA256:" { print image, arch, name, version, $2; found = 1; exit }
        END { if (!found) { print "lock: Debian has no " name " for " arch >"/dev/stderr"; exit 1 } }'
    done
  done
done
echo "cross amd64 gcc-aarch64-linux-gnu"
echo "cross arm64 gcc-x86-64-linux-gnu"
