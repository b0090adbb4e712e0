#!/usr/bin/env bash
# The peers that can't be installed beside each other, each in a virtual environment of its own:
#
#     bash benchmarks/peers.sh DIRECTORY [argument of `python -m benchmarks` …]
#
# makes DIRECTORY/PEER with this package and the newest release of the peer, once, runs the same cases there with the
# unit, raw sockets and this library beside it, and leaves DIRECTORY/PEER.json, which says which environment it was.
# PYTHON names the interpreter to use. Exit 0 if every peer could be installed and measured.
set -uo pipefail
[ $# -ge 1 ] || { sed -n '2,/^set/{/^set/!p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
mkdir -p "$1" && directory=$(cd "$1" && pwd) || exit 1
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

failed=0
# name of the contestant, then what to install for it
while read -r peer package; do
    environment=$directory/$peer
    printf '\n== %s\n' "$peer"
    if [ ! -e "$environment/ready" ]; then
        if "${PYTHON:-python3}" -m venv "$environment" &&
            "$environment/bin/pip" install -q --disable-pip-version-check -e . uvloop "$package"; then
            touch "$environment/ready"
        else
            echo "$peer can't be installed: skipped"
            failed=1
            continue
        fi
    fi
    "$environment/bin/python" -m benchmarks --only unit --only 'raw sockets' --only siliconflow-async --only "$peer" \
        --json "$directory/$peer.json" "$@" || failed=1
done <<'PEERS'
openai openai[aiohttp]
groq groq
mistralai mistralai
litellm litellm
langchain-siliconflow langchain-siliconflow
PEERS
exit "$failed"
