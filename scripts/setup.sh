#!/bin/sh
# setup.sh GROUP...: what the commands of this repository need on a fresh machine, each only its own: npm packages (a
# current Node is one of them) and Debian packages. GROUP is build, demo, bench, test, kube, cluster, images, lint or format.
# Quiet and quick when nothing is to be done; two at once wait for each other.
# On a system that it cannot install on, it says exactly what is missing.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH LC_ALL=C

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# Debian package, what must be there (a command, or a file: any one of those that a pattern names), and for which groups.
needs='make make build demo bench test kube cluster
gcc cc build demo bench test kube cluster
libc6-dev /usr/lib/*/libc.a build demo bench test kube cluster
musl-tools musl-gcc bench test
iproute2 ip build demo bench test kube cluster
iputils-ping ping build demo bench test kube cluster
procps sysctl demo bench test kube cluster
bird2 bird demo bench test kube cluster
frr /usr/lib/frr/bgpd demo bench test kube cluster
faketime /usr/lib/*/faketime/libfaketime.so.1 test kube
containernetworking-plugins /usr/lib/cni/host-local bench test cluster
containerd containerd test
runc runc test cluster
podman podman test
conmon conmon test
busybox-static static-busybox test cluster
iptables iptables test
curl curl test kube cluster
nix-bin nix-instantiate test
prometheus promtool test kube
etcd-server etcd kube cluster
openssl openssl kube cluster
python3 python3 kube cluster
xz-utils xz kube cluster
buildah buildah cluster images
mmdebstrap mmdebstrap test cluster images
nftables nft cluster
conntrack conntrack cluster'

# npm's packages: `app` builds and runs flock, `all` has the tests' too, `tools` lints and formats.
app='' all='' tools=''
[ $# -gt 0 ] || die "usage: setup.sh build|demo|bench|test|kube|cluster|images|lint|format ..."
for group; do
  case $group in
    build | demo | bench) app=yes ;;
    test | kube | cluster) all=yes ;;
    images) ;;
    lint) all=yes tools=yes ;;
    format) tools=yes ;;
    *) die "no group $group: build, demo, bench, test, kube, cluster, images, lint or format" ;;
  esac
done
[ -z "$all" ] || app=''

# A stamp in node_modules says what is there: the packages of this lock file for this kind of machine, and how many.
stamp_of() { { cat "$1/package-lock.json" && uname -sm; } | sha256sum | cut -c1-64; }
is_current() { # FOLDER LEVELS
  [ -f "$1/node_modules/.flock-setup" ] || return 1
  read -r hash level <"$1/node_modules/.flock-setup"
  case " $2 " in *" $level "*) [ "$hash" = "$(stamp_of "$1")" ] ;; *) false ;; esac
}
lacks_app() { [ -n "$app" ] && ! is_current . 'app all'; }
lacks_all() { [ -n "$all" ] && ! is_current . all; }
lacks_tools() { [ -n "$tools" ] && ! is_current tools tools; }

missing_packages() {
  echo "$needs" | while read -r package test groups; do
    wanted=''
    for group; do case " $groups " in *" $group "*) wanted=yes ;; esac; done
    [ -n "$wanted" ] || continue
    case $test in
      static-busybox) command -v busybox >/dev/null && ! ldd "$(command -v busybox)" >/dev/null 2>&1 ;;
      /*) for file in $test; do [ -e "$file" ] && break; done && [ -e "$file" ] ;;
      *) command -v "$test" >/dev/null ;;
    esac || printf '%s ' "$package"
  done
}

# npm leaves out an optional package that it could not get, and says nothing: a platform's own must be there.
# shellcheck disable=SC2016
verify='
  const { readFileSync } = require("node:fs")
  const read = (path) => JSON.parse(readFileSync(path, "utf8")).packages
  const got = read("node_modules/.package-lock.json")
  process.report.excludeNetwork = true
  const libc = process.report.getReport().header.glibcVersionRuntime ? "glibc" : "musl"
  const here = Object.entries({ os: process.platform, cpu: process.arch, libc })
  const suits = (entry) => here.every(([key, value]) => !entry[key] || [entry[key]].flat().includes(value))
  const needed = (entry) => !entry.peer && !(entry.dev && process.argv[1] === "app") &&
    (!entry.optional || (Boolean(entry.os || entry.cpu) && suits(entry)))
  const bad = Object.entries(read("package-lock.json")).filter(([path, entry]) =>
    path !== "" && (got[path] ? got[path].version !== entry.version : needed(entry)))
  for (const [path, { version }] of bad) console.error(`setup: ${path} ${version}: found ${got[path]?.version}`)
  process.exit(bad.length === 0 ? 0 : 1)'

# Beside what is there, and swapped in: what runs from node_modules goes on, and a failed download changes nothing.
# Without install scripts: none of the packages needs one.
install_packages() { # FOLDER LEVEL
  command -v npm >/dev/null || die "npm is missing: install Node 20 or newer with npm"
  say "installing npm packages ($2)"
  hash=$(stamp_of "$1")
  rm -rf "$1"/.setup.*
  new=$(mktemp -d "$PWD/$1/.setup.XXXXXX")
  cp "$1/package.json" "$1/package-lock.json" "$1/.npmrc" "$new"
  omit=--omit=peer
  [ "$2" != app ] || omit="$omit --omit=dev"
  # shellcheck disable=SC2086
  (cd "$new" && npm ci $omit --ignore-scripts --no-audit --no-fund --loglevel=error) >"$log" 2>&1 </dev/null ||
    { cat "$log" >&2; die "npm ci failed"; }
  (cd "$new" && node -e "$verify" "$2") || die "npm left out what package-lock.json has: try again"
  modules=$new/node_modules
  # npm before 10 leaves out this link
  for node in "$modules"/node-linux-*/bin/node; do
    [ ! -x "$node" ] || [ -e "$modules/.bin/node" ] || ln -s "../${node#"$modules"/}" "$modules/.bin/node"
  done
  # Two tools are programs without a link of their own
  for tool in dprint:@dprint/linux-x64-glibc/dprint effect-tsc:@effect/tsgo-linux-x64/artifacts/typescript/7.0.2/tsc; do
    [ ! -x "$modules/${tool#*:}" ] || ln -s "../${tool#*:}" "$modules/.bin/${tool%%:*}"
  done
  # Node's headers, and builds for other versions of TypeScript and oxlint: 150 MB that nothing here reads
  rm -rf "$modules"/node-linux-*/include "$modules"/@effect/tsgo-*/artifacts/oxlint* \
    "$modules"/@effect/tsgo-*/artifacts/typescript/*-dev*
  echo "$hash $2" >"$modules/.flock-setup"
  if [ -e "$1/node_modules" ] || [ -L "$1/node_modules" ]; then mv "$1/node_modules" "$new/old"; fi
  mv "$modules" "$1/node_modules"
  rm -rf "$new"
}

check_node() {
  PATH="$PWD/node_modules/.bin:$PATH" node -e '
    const [major, minor] = process.versions.node.split(".").map(Number)
    process.exit(major > 22 || (major === 22 && minor >= 19) ? 0 : 1)' ||
    die "Node 22.19 or newer is missing (npm brings one for Linux with glibc on x64 and arm64 only: install it yourself)"
}

# Packages that bring a daemon must not start it, now or at the next boot: it would change this machine's network.
policy=/usr/sbin/policy-rc.d
marker='# made by flock/scripts/setup.sh for the time of one apt-get install'
forbid_daemons() {
  if [ ! -e "$policy" ] || grep -qF "$marker" "$policy"; then
    made=$policy
    printf '#!/bin/sh\n%s\nexit 101\n' "$marker" >"$policy"
    chmod 755 "$policy"
  fi
}
disable_daemons() {
  [ -d /run/systemd/system ] || return 0
  for package in $1; do
    case $package in
      bird2) unit=bird.service ;;
      frr | containerd | prometheus) unit=$package.service ;;
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

# Other releases' BIRD and FRR, for tests only. Those that cannot be fetched are said here, and their tests fail.
case " $* " in *' test '*) fetch_versions=yes ;; *) fetch_versions='' ;; esac
versions() {
  [ -n "$fetch_versions" ] && [ -e lab/versions.txt ] || return 0
  while read -r version; do
    # shellcheck disable=SC2086
    sh scripts/debian.sh $version >/dev/null </dev/null || say "not there to be tested: $version"
  done <lab/versions.txt
}

if ! lacks_app && ! lacks_all && ! lacks_tools && [ -z "$(missing_packages "$@")" ]; then
  versions
  exit 0
fi

log=$(mktemp)
new='' made=''
trap 'rm -rf "$log" ${new:+"$new"} ${made:+"$made"}' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

command -v flock >/dev/null || die "flock(1) is missing: flock is built and tested on Linux with util-linux"
exec 9<.
flock 9
if lacks_app; then install_packages . app; fi
if lacks_all; then install_packages . all; fi
if lacks_tools; then install_packages tools tools; fi
[ -z "$app$all" ] || check_node

missing=$(missing_packages "$@")
if [ -n "$missing" ]; then
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    exec 8</var/lib/apt
    flock 8
    missing=$(missing_packages "$@")
    [ -z "$missing" ] || install_debian "$missing"
    missing=$(missing_packages "$@")
    [ -z "$missing" ] || die "still missing after apt-get install: $missing"
  else
    command -v apt-get >/dev/null && how="become root, or run: apt-get install $missing" ||
      how="this is not Debian: install what provides them"
    say "missing, by Debian's package names: $missing"
    echo "$needs" | while read -r package test _; do
      case " $missing" in *" $package "*) say "  $package: ${test}" ;; esac
    done
    die "$how"
  fi
fi
versions
