#!/bin/sh
# `npm run lint`: rules, format and types, each reported; exit code 1 if one of them found something.
set -u
cd "$(dirname "$0")/.." || exit 1
PATH="$PWD/tools/node_modules/.bin:$PWD/node_modules/.bin:$PATH"
status=0
check() {
  "$@" || { status=1; echo "lint: $* found something" >&2; }
}

check oxlint
# Both come as programs for Linux on x64 with glibc; elsewhere CI says what they would.
if command -v dprint >/dev/null; then check dprint check; else echo "lint: no dprint here: format not checked" >&2; fi
# tsc with Effect's own diagnostics
if command -v effect-tsc >/dev/null; then
  check effect-tsc -p .
else
  echo "lint: no Effect diagnostics here, plain TypeScript only" >&2
  check tsc -p .
fi
exit $status
