#!/bin/sh
# run_instrumented.sh MODEL [--docker] [-- OPTIONS OF LLAMA-SERVER]
#
# Starts llama-server with MODEL, seen by Sightline: traces go to OTEL_EXPORTER_OTLP_ENDPOINT (http://localhost:4317 when
# it is not set), metrics are at http://127.0.0.1:9464/metrics. Nothing of llama.cpp is rebuilt or patched.
# --docker: the same with Jaeger (16686), Prometheus (9090) and Grafana (3000) under Docker Compose.
#
# SIGHTLINE and LLAMA_SERVER name the programs, where they are not in PATH.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

fail() {
    echo "run_instrumented.sh: $*" >&2
    exit 2
}

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
}

model=
docker=no
while [ $# -gt 0 ]; do
    case $1 in
    --docker) docker=yes ;;
    -h | --help) usage && exit 0 ;;
    --)
        shift
        break
        ;;
    -*) fail "$1: no such option; options of llama-server stand behind --" ;;
    *)
        [ -z "$model" ] || fail "$1: one model is enough; options of llama-server stand behind --"
        model=$1
        ;;
    esac
    shift
done
[ -n "$model" ] || fail "the model is missing; give run_instrumented.sh MODEL.gguf"
[ -f "$model" ] || fail "$model: no such file"

# The first argument that can be run, or nothing.
first_program() {
    for program in "$@"; do
        if [ -n "$program" ] && command -v "$program" >/dev/null 2>&1; then
            command -v "$program"
            return
        fi
    done
}

if [ "$docker" = yes ]; then
    [ $# -eq 0 ] || fail "options of llama-server stand in compose.yaml with --docker"
    compose=$here/../compose/compose.yaml
    [ -f "$compose" ] || fail "--docker: builds the image from Sightline's sources; run the script from there"
    [ -n "$(first_program docker)" ] || fail "docker: not found; install Docker, or leave --docker out"
    MODELS=$(cd "$(dirname "$model")" && pwd)
    MODEL=$(basename "$model")
    export MODELS MODEL
    exec docker compose -f "$compose" up --build
fi

sightline=$(first_program "${SIGHTLINE:-}" sightline "$here/../../build/sightline")
[ -n "$sightline" ] || fail "sightline: not found; build it (make) or set SIGHTLINE to its path"
server=$(first_program "${LLAMA_SERVER:-}" llama-server ./llama-server ./build/bin/llama-server ./server)
[ -n "$server" ] || fail "llama-server: not found; set LLAMA_SERVER to its path"

OTEL_SERVICE_NAME=${OTEL_SERVICE_NAME:-llama-cpp}
OTEL_EXPORTER_OTLP_ENDPOINT=${OTEL_EXPORTER_OTLP_ENDPOINT:-http://localhost:4317}
export OTEL_SERVICE_NAME OTEL_EXPORTER_OTLP_ENDPOINT
exec "$sightline" exec -- "$server" -m "$model" "$@"
