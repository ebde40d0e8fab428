#!/bin/sh
# build.sh [--arch amd64|arm64] [--again|--no-cache] [--drift] DIR: `npm run images -- DIR`. Writes DIR/flock-agent.tar and DIR/flock-bird.tar
# (docker-archive, localhost/flock-agent:VERSION and localhost/flock-bird:VERSION) from the Dockerfile, by buildah, and beside
# each its SBOM. Only npm's and Debian's servers are asked: the base, in place of debian:trixie-slim, is scripts/debian.sh's.
# What was built before is kept in ~/.cache/flock-images; --again builds it anew but for compilers and npm's packages,
# --no-cache those too. With --drift a package that Debian has in
# another version by now is taken as it is, and that is said. --lock writes scripts/images/debian.lock anew.
set -eu
cd "$(dirname "$0")/../.."
export LC_ALL=C
cache=${XDG_CACHE_HOME:-$HOME/.cache}/flock-images
usage='usage: npm run images -- [--arch amd64|arm64] [--again|--no-cache] [--drift] DIR | --lock'
arch=$(dpkg --print-architecture) again='' cache_flag='' drift='' lock='' out=''
while [ $# -gt 0 ]; do
  case $1 in
    --arch) arch=$2; shift ;;
    --again) again=$(date +%s.%N) ;;
    --no-cache) again=$(date +%s.%N) cache_flag=--no-cache ;;
    --drift) drift=yes ;;
    --lock) lock=yes ;;
    -*) echo "$usage" >&2; exit 2 ;;
    *) out=$1 ;;
  esac
  shift
done
[ -n "$out$lock" ] || { echo "$usage" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "images: become root: buildah needs it here" >&2; exit 1; }

mkdir -p "$cache"
# A second one waits: it finds what the first has made.
exec 9>"$cache/.lock"
flock 9
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The base is only built in: nothing of it is in an image. So one that is older does as well as today's.
base=''
make_base() {
  root=$(sh scripts/debian.sh trixie ca-certificates)
  base=$cache/base-$(stat -c %Y "$root/versions").tar
  [ ! -s "$base" ] || return 0
  rm -f "$cache"/base-*.tar
  # the licences of what goes into an image from it are wanted: the C library's, in the plugin
  tar -C "$root/root" --exclude=./etc/dpkg/dpkg.cfg.d --exclude='./dev/*' -cf "$base.$$" .
  mv "$base.$$" "$base"
}
if [ -n "$lock" ]; then
  make_base
  mkdir -p "$work/locking"
  tar -C "$work/locking" -xf "$base"
  cp scripts/images/lock.sh "$work/locking/"
  chroot "$work/locking" sh /lock.sh >"$work/debian.lock"
  cat "$work/debian.lock" >scripts/images/debian.lock
  exit
fi

version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json)
# A commit is named only where it is what was built.
revision=unknown
if commit=$(git rev-parse HEAD 2>/dev/null) && [ -z "$(git status --porcelain --untracked-files=normal 2>/dev/null)" ]; then
  revision=$commit
fi
key=$({ echo "$arch $revision $drift"; git ls-files -co --exclude-standard -- Dockerfile .dockerignore package.json package-lock.json .npmrc tsconfig.json \
  LICENSE cni scripts src | sort | tr '\n' '\0' | xargs -0 sha256sum; } | sha256sum | cut -c1-32)
done=$cache/built/$key
if [ -n "$again" ] || [ ! -e "$done/flock-bird.tar" ]; then
  make_base
  buildah() { command buildah --root "$cache/storage" --runroot "$cache/run" --storage-driver "${IMAGES_STORAGE:-overlay}" "$@"; }
  # Layers of former trees stay for the next one's cache: some 300 MB for each change.
  if [ "$(du -sm "$cache/storage" 2>/dev/null | cut -f1)0" -gt 250000 ]; then buildah rmi --all --force >/dev/null; fi
  local_base=localhost/flock-base:$(sha256sum "$base" | cut -c1-16)
  if ! buildah inspect --type image "$local_base" >/dev/null 2>&1; then
    container=$(buildah from scratch)
    buildah add -q "$container" "$base" / >/dev/null
    buildah commit -q "$container" "$local_base" >/dev/null
    buildah rm "$container" >/dev/null
  fi
  registry=$(npm config get registry 2>/dev/null) || registry=''
  for target in agent bird; do
    # the date is the same for all: who wants to know when, asks the commit
    buildah bud --pull=never --isolation chroot --layers $cache_flag --timestamp 0 \
      --build-arg BASE="$local_base" --build-arg TARGETARCH="$arch" --build-arg DRIFT="$drift" --build-arg AGAIN="$again" --build-arg REVISION="$revision" \
      ${registry:+--build-arg NPM_CONFIG_REGISTRY="$registry"} \
      ${NODE_EXTRA_CA_CERTS:+--secret id=ca,src="$NODE_EXTRA_CA_CERTS"} \
      --target "$target" -t "localhost/flock-$target:$version" . >"$work/log" 2>&1 </dev/null ||
      { cat "$work/log" >&2; exit 1; }
    grep -E '^(toolchain|rootfs): not ' "$work/log" >&2 || true
    cache_flag=''
    if [ "$arch" != "$(dpkg --print-architecture)" ]; then
      # nothing in it ran here: only its name tells which machine it is for
      image=$(buildah from --pull-never "localhost/flock-$target:$version")
      buildah config --arch "$arch" "$image"
      buildah commit -q --timestamp 0 "$image" "localhost/flock-$target:$version" >/dev/null
      buildah rm "$image" >/dev/null
    fi
    buildah push -q "localhost/flock-$target:$version" "docker-archive:$work/flock-$target.tar:localhost/flock-$target:$version"
    image=$(buildah from --pull-never --arch "$arch" "localhost/flock-$target:$version")
    cp "$(buildah mount "$image")/usr/share/sbom/flock-$target.spdx.json" "$work/"
    buildah rm "$image" >/dev/null
  done
  rm -rf "$done"
  mkdir -p "$done"
  mv "$work"/flock-* "$done/"
  # the five last are kept
  find "$cache/built" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -rn | tail -n +6 | cut -d' ' -f2- | xargs -r rm -rf
fi
mkdir -p "$out"
cp "$done"/flock-* "$out/"
