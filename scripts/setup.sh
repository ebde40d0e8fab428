#!/bin/sh
# All set-up of a fresh machine: npm packages (a current Node is one of them) and the Debian packages that the tests,
# the demo and the bench use. Quiet and quick when nothing is to be done. Two at once wait for each other.
# On a system that it cannot install on, it says exactly what is missing.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH LC_ALL=C

stamp=node_modules/.flock-setup
fingerprint() { { sha256sum package-lock.json && uname -sm; } | sha256sum | cut -d' ' -f1; }
packages_current() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && [ -x node_modules/.bin/vitest ]; }
say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# Debian package, then what must be there: a command, or a file (any one of those that a pattern names).
needs='bird2 bird
frr /usr/lib/frr/bgpd
iproute2 ip
iputils-ping ping
containernetworking-plugins /usr/lib/cni/host-local
containerd containerd
runc runc
podman podman
conmon conmon
busybox-static static-busybox
etcd-server etcd
iptables iptables
procps sysctl
tcpdump tcpdump
curl curl
openssl openssl
xz-utils xz
git git
python3 python3
nix-bin nix-instantiate
make make
gcc cc
libc6-dev /usr/lib/*/libc.a
musl-tools musl-gcc'

missing_packages() {
  echo "$needs" | while read -r package test; do
    case $test in
      static-busybox) command -v busybox >/dev/null && ! ldd "$(command -v busybox)" >/dev/null 2>&1 ;;
      /*) for file in $test; do [ -e "$file" ] && break; done && [ -e "$file" ] ;;
      *) command -v "$test" >/dev/null ;;
    esac || printf '%s ' "$package"
  done
}

# The lock file's packages, without install scripts. Not `npm ci`: it refuses a lock file that leaves out
# other platforms' optional packages, which a registry need not have. --no-save keeps the lock file as it is, and what
# came is compared with it.
install_packages() {
  command -v npm >/dev/null || die "npm is missing: install Node 20 or newer with npm"
  say "installing npm packages"
  rm -f "$stamp"
  npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error >"$log" 2>&1 </dev/null ||
    { cat "$log" >&2; die "npm install failed"; }
  node - <<'JS' || die "node_modules is not what package-lock.json says: remove node_modules and try again"
    const { readFileSync } = require("node:fs")
    const read = (path) => JSON.parse(readFileSync(path, "utf8")).packages
    const got = read("node_modules/.package-lock.json")
    const bad = Object.entries(read("package-lock.json")).filter(([path, { version, optional }]) =>
      path !== "" && (got[path] ? got[path].version !== version : !optional))
    for (const [path, { version }] of bad) console.error(`setup: ${path} ${version}: found ${got[path]?.version}`)
    process.exit(bad.length === 0 ? 0 : 1)
JS
  # npm before 10 leaves out this link
  for node in node_modules/node-linux-*/bin/node; do
    [ ! -x "$node" ] || [ -e node_modules/.bin/node ] || ln -s "../${node#node_modules/}" node_modules/.bin/node
  done
  PATH="$PWD/node_modules/.bin:$PATH" node -e '
    const [major, minor] = process.versions.node.split(".").map(Number)
    process.exit(major > 22 || (major === 22 && minor >= 19) ? 0 : 1)' ||
    die "Node 22.19 or newer is missing (npm brings one for Linux with glibc on x64 and arm64 only: install it yourself)"
  echo "$want" >"$stamp.$$"
  mv "$stamp.$$" "$stamp"
}

# Packages that bring a daemon must not start it, now or at the next boot: it would change this machine's network.
policy=/usr/sbin/policy-rc.d
marker='# made by flock/scripts/setup.sh for the time of one apt-get install'
forbid_daemons() {
  if [ ! -e "$policy" ] || grep -qF "$marker" "$policy"; then
    trap 'rm -f "$policy" "$log"' EXIT
    printf '#!/bin/sh\n%s\nexit 101\n' "$marker" >"$policy"
    chmod 755 "$policy"
  fi
}
disable_daemons() {
  [ -d /run/systemd/system ] || return 0
  for package in $1; do
    case $package in
      bird2) unit=bird.service ;;
      frr | containerd) unit=$package.service ;;
      etcd-server) unit=etcd.service ;;
      *) continue ;;
    esac
    systemctl --quiet disable --now "$unit" >>"$log" 2>&1 || say "could not disable $unit: see that it does not run"
  done
}

install_debian() {
  say "installing Debian packages: $1"
  forbid_daemons
  apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" >>"$log" 2>&1 </dev/null
  }
  : >"$log"
  # shellcheck disable=SC2086
  { apt install -y --no-install-recommends $1 || { apt update && apt install -y --no-install-recommends $1; }; } ||
    { cat "$log" >&2; die "apt-get install $1 failed"; }
  disable_daemons "$1"
}

want=$(fingerprint)
packages_current && [ -z "$(missing_packages)" ] && exit 0

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

command -v flock >/dev/null || die "flock(1) is missing: flock is built and tested on Linux with util-linux"
exec 9<.
flock 9
packages_current || install_packages

missing=$(missing_packages)
if [ -n "$missing" ]; then
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    exec 8</var/lib/apt
    flock 8
    missing=$(missing_packages)
    [ -z "$missing" ] || install_debian "$missing"
    missing=$(missing_packages)
    [ -z "$missing" ] || die "still missing after apt-get install: $missing"
  else
    command -v apt-get >/dev/null && how="become root, or run: apt-get install $missing" ||
      how="this is not Debian: install what provides them"
    say "missing, by Debian's package names: $missing"
    echo "$needs" | while read -r package test; do
      case " $missing" in *" $package "*) say "  $package: ${test}" ;; esac
    done
    die "$how"
  fi
fi
