#!/bin/sh
# The registry's whole path on this machine, with nothing but Go and the usual small tools: serve with the embedded store, push a
# generated model, list it, pull it into an empty folder, compare, and show its objects in the bucket. Everything lives in
# a temporary folder and on free loopback ports, and is gone at the end.
set -eu

cd "$(dirname "$0")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/ballast-demo.XXXXXX")
server=
finish() {
	status=$?
	trap - EXIT INT TERM
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null && wait "$server" 2>/dev/null || true
	fi
	[ "$status" -eq 0 ] || { echo "demo: failed; the server said:" >&2; tail -n 20 "$work/serve.log" >&2 2>/dev/null || true; }
	rm -rf "$work"
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

show() {
	printf '\n$ %s\n' "$*"
	"$@"
}

echo "building"
go build -o "$work/ballast" ./cmd/registry
go run ./scripts/genmodel -shards 2 -mib 8 "$work/model"
cd "$work"
PATH="$work:$PATH"
export XDG_CONFIG_HOME="$work/config" XDG_CACHE_HOME="$work/cache"
unset BALLAST_URL BALLAST_TOKEN BALLAST_TOKEN_FILE AWS_PROFILE AWS_DEFAULT_PROFILE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
: >serve.out

printf '\n$ ballast serve\n'
ballast serve --data "$work/data" --listen localhost:0 --s3-listen 127.0.0.1:0 --metrics-listen off \
	>serve.out 2>serve.log &
server=$!
tries=0
until grep -q BALLAST_TOKEN serve.out; do
	kill -0 "$server"
	tries=$((tries + 1))
	[ "$tries" -lt 300 ]
	sleep 0.1
done
cat serve.out
eval "$(grep '^ *export BALLAST_' serve.out)"

show ballast health
printf '\n$ export BALLAST_TOKEN=$(ballast token create --grant acme=writer)\n'
BALLAST_TOKEN=$(ballast token create --grant acme=writer --name demo)
export BALLAST_TOKEN
show ballast push model tiny-llama:1.0.0 --task text-generation --tag demo
show ballast ls
show ballast show tiny-llama
show ballast pull tiny-llama
show diff -r model tiny-llama
echo "the pulled folder is the pushed one"
show ballast push model tiny-llama

# The shard is an object under its own SHA-256.
sum=$(sha256sum model/model-00001-of-00002.safetensors | cut -d ' ' -f 1)
key="tenants/acme/blobs/sha256/$(echo "$sum" | cut -c 1-2)/$sum"
printf '\n# in the bucket: %s\n' "$key"
endpoint=$(sed -n 's/.*--endpoint-url \([^ ]*\) .*/\1/p' serve.out)
if aws --version >/dev/null 2>&1; then
	export AWS_SHARED_CREDENTIALS_FILE="$work/data/s3.credentials"
	show aws --endpoint-url "$endpoint" --region us-east-1 s3 ls "s3://ballast/$key"
fi
object=$(find data -type f -path "*/$key")
show cmp "$object" model/model-00001-of-00002.safetensors
echo "the object is the file, byte for byte"
printf '\ndemo: done\n'
