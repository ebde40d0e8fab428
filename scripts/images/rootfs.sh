#!/bin/sh
# rootfs.sh IMAGE ARCH ROOT DRIFT: in the Dockerfile, unpacks the packages that debian.lock has for IMAGE (agent or bird) into
# ROOT, without what nobody reads there; licences stay, and what was unpacked is in var/lib/dpkg/status.d, where scanners
# look. With DRIFT (any text) a package that Debian has in another version by now is taken as it is, and that is said.
set -eu
image=$1 arch=$2 root=$3 drift=$4
here=$(dpkg --print-architecture)
[ "$arch" = "$here" ] || dpkg --add-architecture "$arch"
apt-get -qq update
work=$(mktemp -d)
chmod 777 "$work"
cd "$work"
mkdir -p "$root/var/lib/dpkg/status.d" "$root/etc" "$root/tmp" "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/root"
chmod 1777 "$root/tmp"
ln -s /run "$root/var/run"
awk -v image="$image" -v arch="$arch" '$1 == image && $2 == arch { print $3, $4, $5 }' /images/debian.lock |
  while read -r name version hash; do
    if apt-get -qq download "$name:$arch=$version" 2>/dev/null; then
      echo "$hash  $(echo "$name"_*.deb)" | sha256sum --quiet -c
    elif [ -n "$drift" ]; then
      apt-get -qq download "$name:$arch"
      echo "rootfs: not $name $version, but today's $(echo "$name"_*.deb)" >&2
    else
      echo "rootfs: Debian has no $name $version any more: npm run images -- --lock" >&2
      exit 1
    fi
    dpkg-deb -x "$name"_*.deb "$root"
    dpkg-deb -f "$name"_*.deb >"$root/var/lib/dpkg/status.d/$name"
    rm "$name"_*.deb
  done
cd /
rm -r "$work"
[ -n "$(ls "$root/var/lib/dpkg/status.d")" ] || { echo "rootfs: debian.lock has nothing for $image on $arch" >&2; exit 1; }
cd "$root"
# a package's folder may be a link to that of another one of the same source
find usr/share/doc -mindepth 2 -not -type d -not -name copyright -delete
find usr/share/doc -mindepth 1 -type d -empty -delete
rm -rf usr/share/man usr/share/info usr/share/locale usr/share/lintian usr/share/gdb usr/share/bug usr/share/bash-completion \
  usr/share/gcc usr/lib/*/gconv usr/lib/systemd usr/lib/init etc/init.d etc/default usr/share/initramfs-tools usr/share/menu \
  usr/games usr/include usr/src usr/share/dict usr/share/info usr/share/base-files var/backups var/mail var/local var/opt
printf 'root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n' >etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' >etc/group
if [ "$image" = bird ]; then
  # what the DaemonSet's command and somebody who looks for a fault need
  for name in sh sleep cat ls ps ip ping ping6 grep; do ln -s busybox "usr/bin/$name"; done
  test -s usr/share/doc/bird2/copyright
fi
