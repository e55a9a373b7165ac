#!/bin/sh
# The tour that `make demo` takes: sign, push, verify, tamper and copy, with no server. An OCI layout
# folder stands where a registry would: every command is the same with localhost:5000/app:v1.
set -eu
exec 2>&1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export HOME="$work" DOCKER_CONFIG="$work/docker" NO_COLOR=1

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }
refused() { # CODE COMMAND: it must end in CODE
    expected=$1 code=0 && shift
    run "$@" || code=$?
    printf '(exit %s)\n' "$code"
    [ "$code" = "$expected" ]
}

say "Two machines: one signs, the other knows the pinned root only."
publisher="$work/publisher" reader="$work/reader"
export DOCKSEAL_HOME="$publisher" DOCKSEAL_PASSPHRASE="correct horse battery"
mkdir app && echo 'hello' > app/hello.txt
run dockseal build -t app:v1 app

say "Push: image and signed trust data go together, the tag moves last."
run dockseal push --from app:v1 oci:registry:v1

say "Verify on the machine that signed, and on one that knows nothing."
run dockseal verify oci:registry:v1
export DOCKSEAL_HOME="$reader"
unset DOCKSEAL_PASSPHRASE
refused 16 dockseal verify oci:registry:v1

say "Given the pin, it needs no key and no passphrase."
mkdir -p "$reader" && cp "$publisher/config.toml" "$reader"
run cat "$reader/config.toml"
run dockseal verify oci:registry:v1
run dockseal pull --to oci:pulled:v1 oci:registry:v1

say "A push that cannot be signed is refused before anything is sent."
refused 10 dockseal push --from oci:pulled:v1 oci:registry:v2
refused 11 dockseal verify oci:registry:v2

say "Somebody moves the tag without signing: the reader sees it."
export DOCKSEAL_HOME="$publisher" DOCKSEAL_PASSPHRASE="correct horse battery"
echo 'other' > app/hello.txt
run dockseal build -t app:other app
run dockseal push --disable-content-trust --from app:other oci:registry:v1
export DOCKSEAL_HOME="$reader"
refused 12 dockseal verify oci:registry:v1

say "Through an air gap: image and trust are copied together, byte for byte."
export DOCKSEAL_HOME="$publisher"
run dockseal push --from app:v1 oci:registry:v1
run dockseal copy oci:registry oci:carried
export DOCKSEAL_HOME="$work/offline"
unset DOCKSEAL_PASSPHRASE
mkdir "$work/offline" && cp "$publisher/config.toml" "$work/offline"
run dockseal verify oci:carried:v1
say "Done."
