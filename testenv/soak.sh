#!/usr/bin/env bash
# What a test run is too short for: each fuzz target for a while, 10 GiB through the registry, for which it takes 30 GiB of
# disk, 500 kills, 100 power cuts and two at each step, 100 kills of clients, gc under fire, then the concurrent suites over and over.
#   testenv/soak.sh [inputs of each fuzz target, as in 100000x, or a time, as in 30s]
set -euo pipefail
cd "$(dirname "$0")/.."
duration=${1:-100000x}

while IFS=: read -r file target; do
	echo "== $target in $(dirname "$file") for $duration"
	# Minimizing has a bound of its own: an input that starts goroutines never covers quite the same code twice.
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" -fuzzminimizetime 10x "./$(dirname "$file")"
done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed 's/func //')

echo "== 10 GiB and 10,000 files in 150 MiB of memory"
BALLAST_REQUIRE_TOOLS=1 BALLAST_BOUNDED_SIZE=10GiB go test -v -count 1 -timeout 2h -run '^TestBounded' ./e2e

echo "== 500 kills under load, 100 power cuts, and a cut before and after each step"
BALLAST_REQUIRE_TOOLS=1 BALLAST_KILLS=500 BALLAST_POWER_CUTS=100 go test -v -count 1 -timeout 3h -run 'Kills|Cuts' ./e2e/crash

echo "== clients killed 50 times while they push and pull"
BALLAST_REQUIRE_TOOLS=1 BALLAST_PUSH_KILLS=50 BALLAST_PULL_KILLS=50 go test -v -count 1 -timeout 1h -run 'Kill' ./e2e/push ./e2e/pull

echo "== gc under fire for ten minutes a store"
BALLAST_REQUIRE_TOOLS=1 BALLAST_FIRE=10m go test -v -count 1 -timeout 3h -run '^TestGCUnderFire$' ./internal/engine

echo "== 10,000 versions rebuilt, and ten million keys checked"
BALLAST_REBUILD_VERSIONS=10000 go test -v -count 1 -timeout 1h -run '^TestRebuildOfManyVersions$' ./internal/engine
BALLAST_FSCK_KEYS=10000000 go test -v -count 1 -timeout 6h -run '^TestFsckMemoryIsFlat$' ./internal/engine

echo "== concurrent suites, ten times"
BALLAST_RANDOM_SEEDS=1 go test -race -count 10 -timeout 2h ./internal/index/... ./internal/engine/... ./internal/s3dev/...
