#!/bin/sh
# debian.sh SUITE PACKAGE...: a Debian system of another release (trixie, sid, ...) with these packages and what they
# need, in a folder outside the tree. Prints the folder, which holds
#   root/  the installed system: for chroot, or as the base of a container image
#   bin/   the packages' programs, ready to run here on this kernel and these files with their own libc, as any user.
#          Daemons that are run as root see their own /usr, for data that they look for by name (FRR's YANG modules)
#   versions  a line `PACKAGE VERSION` for each package that was asked for
# For instance:
#   trixie=$(scripts/debian.sh trixie bird3) && "$trixie/bin/bird" --version
#   image=$(scripts/debian.sh trixie ca-certificates) && tar -C "$image/root" -c . | ...
# Who wants to change the system copies it first: it is shared.
#
# The first call takes half a minute (140 MB for bird2, 190 MB with frr); then it is there until the folder is removed,
# which is how to get what the suite has today. Two at once wait for each other.
# The place is $FLOCK_CACHE, or else /var/cache/flock (root) or ~/.cache/flock. The mirror is what mmdebstrap defaults
# to, or $FLOCK_DEBIAN_MIRROR: a URL, or lines of sources.list. This machine's apt says how to fetch (Acquire::*).
set -eu
LC_ALL=C
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export LC_ALL PATH

die() { echo "debian: $*" >&2; exit 1; }
[ $# -ge 2 ] || die "usage: debian.sh SUITE PACKAGE..."
for word; do
  case $word in "" | -* | .* | *[!a-z0-9.+-]*) die "no name of a suite or package: '$word'" ;; esac
done
suite=$1
shift
[ "$(id -u)" = 0 ] && cache=/var/cache/flock || cache=${XDG_CACHE_HOME:-$HOME/.cache}/flock
cache=${FLOCK_CACHE:-$cache}/debian
name=$suite-$(printf '%s\n' "$@" | sort -u | paste -sd_)
folder=$cache/$name

# Made beside and renamed: what has this name is whole.
if [ -d "$folder" ]; then echo "$folder" && exit; fi

for tool in flock mmdebstrap; do
  command -v "$tool" >/dev/null || die "$* of $suite cannot be fetched: $tool is missing (Debian: util-linux, mmdebstrap)"
done
mkdir -p "$cache"
exec 9>"$cache/$name.lock"
flock 9
if [ -d "$folder" ]; then echo "$folder" && exit; fi

rm -rf --one-file-system "$folder".new.*
new=$(mktemp -d "$folder.new.XXXXXX")
trap 'rm -rf --one-file-system "$new"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 755 "$new"
echo "debian: fetching $* of $suite" >&2
echo 'Acquire::Retries "3";' >"$new/apt.conf"
if command -v apt-config >/dev/null; then
  apt-config dump --no-empty | grep -E '^Acquire::(https?|Retries|Check-|Force)' >>"$new/apt.conf" || true
fi
# shellcheck disable=SC2086
mmdebstrap --variant=minbase --include="$(echo "$*" | tr ' ' ,)" \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --aptopt="$new/apt.conf" \
  "$suite" "$new/root" ${FLOCK_DEBIAN_MIRROR:+"$FLOCK_DEBIAN_MIRROR"} >"$new/log" 2>&1 </dev/null || {
  cat "$new/log" >&2
  die "$* of $suite could not be fetched (above is what mmdebstrap says): is a Debian mirror within reach?"
}

# The suite's own loader, with its own libraries: the programs see this machine's files and not its libc.
loader=''
for file in "$new"/root/usr/lib*/ld-linux*.so.*; do [ ! -e "$file" ] || loader=$folder/${file#"$new"/}; done
[ -n "$loader" ] || die "$suite has no ld-linux*.so.* in its usr/lib*"
libraries=''
for file in "$new"/root/usr/lib/*-linux-* "$new"/root/usr/lib/*-linux-*/frr; do
  [ ! -d "$file" ] || libraries="$libraries${libraries:+:}$folder/${file#"$new"/}"
done
mkdir "$new/bin"
for package; do
  echo "$package $(dpkg-query --admindir="$new/root/var/lib/dpkg" --show --showformat='${Version}' "$package")"
done >"$new/versions"
for package; do
  dpkg-query --admindir="$new/root/var/lib/dpkg" --listfiles "$package"
done | sort -u | while read -r file; do
  program=$new/root$file
  [ -f "$program" ] && [ -x "$program" ] || continue
  case $file in
    */bin/* | */sbin/* | /usr/lib/frr/*) ;;
    *) continue ;;
  esac
  # Scripts find their interpreter on this machine
  [ "$(head -c 4 "$program")" = "$(printf '\177ELF')" ] || continue
  {
    echo '#!/bin/sh'
    case $file in
      */bin/*) ;;
      *) echo "[ \"\$(id -u)\" != 0 ] || [ ! /lib -ef /usr/lib ] || exec unshare --mount sh -c" \
        "'mount --bind \"\$0\" /usr && exec \"\$@\"' '$folder/root/usr' '$file' \"\$@\"" ;;
    esac
    echo "exec '$loader' --argv0 '$file' --library-path '$libraries' '$folder/root$file' \"\$@\""
  } >"$new/bin/${file##*/}"
  chmod 755 "$new/bin/${file##*/}"
done
mv "$new" "$folder"
trap - EXIT
echo "$folder"
