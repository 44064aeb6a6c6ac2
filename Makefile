VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BUILD   := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
GOBIN   ?= $(or $(shell go env GOBIN),$(shell go env GOPATH)/bin)
TOOLS   := go run ./testenv/cmd/tools

# The race detector wants a C compiler on Linux; without one the tests run without it, and CI has one.
RACE    := $(if $(shell command -v $$(go env CC)),-race,)
RACED   := ./client/... ./internal/audit/... ./internal/engine/... ./internal/index/... ./internal/objstore/... ./internal/oidc/... ./internal/s3dev/...
# Tables of one request after the other, thousands of them: with the race detector they take ten minutes and find nothing more.
TABLES  := Fuzz|Tenancy|HostileTenant|BadInput|NamesConfine|NoBytesWithoutALine|AbsentTakesAsLong
# Loads of the engine that last as long as they are given, or as their number says: the detector makes them ten times as long.
LOADS   := TestGCUnderFire|TestRebuildOfManyVersions|TestFsckMemoryIsFlat
TIMEOUT ?= 20m
SOAK    ?= 100000x

.PHONY: all build install run demo test lint bench soak mutants vuln cross tools clean
all: build

build: ## bin/ballast
	$(BUILD) -o bin/ballast ./cmd/registry

install: build ## into $GOBIN
	mkdir -p '$(GOBIN)' && cp bin/ballast '$(GOBIN)/ballast'

run: build ## a registry on localhost, with everything in its data folder; more flags in ARGS
	bin/ballast serve $(ARGS)

demo: ## push, list and pull a generated model
	scripts/demo.sh

test: ## everything, against the embedded store and MinIO
	$(TOOLS) minio mc s5cmd rclone
	$(if $(RACE),,@echo "no C compiler: the race detector stays off")
	BALLAST_REQUIRE_TOOLS=1 go test $(RACE) -timeout $(TIMEOUT) $(if $(RACE),-skip '^($(LOADS))$$') $(RACED)
	$(if $(RACE),BALLAST_REQUIRE_TOOLS=1 go test -timeout $(TIMEOUT) -run '^($(LOADS))$$' ./internal/engine)
	$(if $(RACE),BALLAST_REQUIRE_TOOLS=1 go test $(RACE) -timeout $(TIMEOUT) -skip '$(TABLES)' ./internal/api/...)
	BALLAST_REQUIRE_TOOLS=1 go test -timeout $(TIMEOUT) $$(go list ./... | grep -vxF "$$(go list $(RACED) ./testenv/lint)")
	cd testenv/deploy && go test ./...
	BALLAST_REQUIRE_TOOLS=1 go test -tags failpoints -timeout $(TIMEOUT) -parallel 4 -run 'Crash|Orders|Moment' ./internal/failpoint ./internal/engine

lint: ## house rules, and the proof that the layer rules bite
	$$($(TOOLS) golangci-lint) run
	BALLAST_REQUIRE_TOOLS=1 go test ./testenv/lint
	go vet -tags nos3dev ./cmd/registry ./internal/s3dev
	go vet -tags failpoints ./internal/...

bench: ## benchmarks, ten rounds each, for benchstat; then tables: a large index and a small one, and the binary beside other programs
	$(TOOLS) minio mc s5cmd rclone
	go test -run '^$$' -bench . -skip Scale -benchmem -count 10 -timeout 60m $$(go list ./... | grep -v /e2e/bench)
	go test -run '^$$' -bench Scale -timeout 60m ./internal/index
	go test -run '^$$' -bench . -benchtime 5x -timeout 2h -v ./e2e/bench

soak: ## each fuzz target for SOAK, 10 GiB in bounded memory, kills and power cuts, then the concurrent tests again and again
	testenv/soak.sh $(SOAK)

mutants: ## each planted violation must make its test fail
	go run ./testenv/cmd/mutants

vuln: ## known vulnerabilities in what the binary calls
	go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./cmd/registry

cross: ## dist/ballast-<os>-<arch>
	@set -e; for target in linux/amd64 linux/arm64 darwin/arm64; do echo "$$target"; GOOS=$${target%/*} GOARCH=$${target#*/} $(BUILD) -o "dist/ballast-$${target%/*}-$${target#*/}" ./cmd/registry; done

tools: ## the pinned programs of tests and lint, into a cache outside the tree
	$(TOOLS)

clean: ## what the targets above made in the tree; the tools' cache stays
	rm -rf bin dist
