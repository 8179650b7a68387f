# Everything runs with Go, make, git and a network; `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The binary is static, so what is tested is built that way too. The race
# detector is the one thing that needs cgo.
export CGO_ENABLED := 0

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
DATE    := $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)

TOOL    := go tool -modfile=tools/go.mod
GOFILES  = $(wildcard $(or $(shell git ls-files --cached --others --exclude-standard -- '*.go' 2>/dev/null | sort -u),$(shell find . -name '*.go' -not -path './.work/*')))
TIMEOUT := 10m

# Packages with goroutines of their own, as far as they exist.
RACEDIRS := internal/clock internal/memory internal/transport driver worker executor sources sinks statestore
RACEPKGS  = $(foreach d,$(RACEDIRS),$(if $(wildcard $(d)/*.go $(d)/*/*.go),./$(d)/...))

# Invariants are checks that the shipped binary leaves out: what has such checks is
# tested without them too, and so are the library and the binary as a whole.
SHORTPKGS = . ./cmd/... ./test/cli $(shell git grep --untracked -lE 'internal/invariants"' -- '*.go' ':!*_test.go' ':!internal/lint' | xargs -r -n1 dirname | sort -u | sed 's,^,./,')

# Packages whose tests keep their expected text in files.
REWRITEPKGS = $(shell git grep --untracked -lE 'cockroachdb/datadriven|internal/slt"|flag.Bool."rewrite"' -- '*_test.go' | xargs -r -n1 dirname | sort -u | sed 's,^,./,')

# Packages that run SQL logic tests; the flag -slt exists in these alone.
SLTPKGS = $(or $(shell git grep --untracked -lE 'internal/slt"' -- 'test/*_test.go' | xargs -r -n1 dirname | sort -u | sed 's,^,./,'),./internal/slt/...)

BENCHPKGS = $(shell git grep --untracked -lE '^func Benchmark' -- '*_test.go' | xargs -r -n1 dirname | sort -u | sed 's,^,./,')

.PHONY: help build bubble demo kafka-up kafka-down test-kafka soak-kafka test-partition test-upgrade chaos postgres-up postgres-down test-postgres test-chart test fmt vet lint staticcheck exhaustive unit short race foreign slt slt-cluster rewrite proto sim fuzz fuzz-sql fuzz-stream tpcds nexmark bench ci clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/sluice, one static binary
	@mkdir -p bin
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

demo: build ## Build, then run the flight-delay pipeline on real events
	@examples/flights/demo.sh

test: fmt vet staticcheck exhaustive ## Install what is needed and run every check and test
	@$(MAKE) --no-print-directory race
	@$(MAKE) --no-print-directory short
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory sim SEEDS=20000
	@$(MAKE) --no-print-directory bubble
	@$(MAKE) --no-print-directory bubble SEEDS=0+2000 ARGS="-run ^TestSeeds $(ARGS)"
	@$(MAKE) --no-print-directory test-kafka ARGS="-short $(ARGS)"
	@$(MAKE) --no-print-directory test-postgres ARGS="-short $(ARGS)"
	@echo "make test: everything passed"

fmt:
	@bad=$$(gofmt -l $(GOFILES)); if [ -n "$$bad" ]; then echo "not formatted (gofmt -w):"; echo "$$bad"; exit 1; fi

vet:
	go vet -tags invariants ./...
	go vet -tags synctests,invariants ./test/bubble ./internal/lock ./internal/mutant
	go vet -tags faults ./test/kafka ./internal/fault
	go -C tools vet ./...

staticcheck:
	$(TOOL) staticcheck -tags invariants ./...

# A switch over our own enumerations and sealed interfaces names every member, or
# has a default that says what becomes of the rest.
exhaustive:
	$(TOOL) exhaustive -d -typeonly '^github.com/sluice-stream/' -typeignore . ./...
	@mkdir -p .work/bin
	go -C tools build -o ../.work/bin/sealed ./sealed
	.work/bin/sealed -test=false ./...

lint: fmt vet staticcheck exhaustive ## Run the linters and our own checks only
	go test -count=1 ./internal/lint

# -count=1: tests that build and run the binary would otherwise be taken from the
# cache, which does not know what the binary is made of.
unit: ## Run all tests with invariants checked, and the foreign readers
	@python=$$(tools/foreign); SLUICE_DUCKDB_PYTHON="$$python" go test -count=1 -tags invariants -timeout $(TIMEOUT) $(ARGS) ./...
	go -C tools test ./...

# The tag makes mutexes of kgo and of ours channels, see internal/lock.
bubble: ## Run drivers, workers and a fake broker in bubbles of virtual time; SEEDS=first+count
	$(if $(SEEDS),SLUICE_SEEDS=$(SEEDS)) go test -count=1 -tags synctests,invariants -timeout $(TIMEOUT) $(ARGS) ./test/bubble

short: ## Run the short tests of what is shipped without its checks of invariants, as it is shipped
	go test -short -timeout $(TIMEOUT) $(ARGS) $(SHORTPKGS)

race: ## Run the packages with goroutines under the race detector
	@cc=$$(go env CC); if ! command -v $${cc%% *} >/dev/null; then \
		echo "race: skipped, the race detector needs a C compiler and there is no $$cc"; exit 0; fi; \
	set -x; CGO_ENABLED=1 go test -race -short -tags invariants -timeout $(TIMEOUT) $(ARGS) $(RACEPKGS)

foreign: ## Install the foreign readers (DuckDB) that some tests use
	@tools/foreign

kafka-up: ## Start a real Kafka broker on 127.0.0.1:9092, its files in .work/kafka
	@jars=$$(KAFKA=require tools/kafka/broker install) && tools/kafka/broker up .work/kafka/broker 9092 && echo "Kafka listens on 127.0.0.1:9092 (jars in $$jars)"

kafka-down: ## Stop the broker of make kafka-up; its files stay
	@tools/kafka/broker down .work/kafka/broker

test-kafka: ## Run the tests with a real Kafka broker, which they start (Java 17, Maven); KAFKA=off leaves them out
	@jars=$$(tools/kafka/broker install); [ -z "$$jars" ] || SLUICE_KAFKA_JARS="$$jars" SLUICE_POSTGRES=$$(tools/postgres/server install) SLUICE_DUCKDB_PYTHON=$$(tools/foreign) \
		go test -count=1 -tags faults -timeout $(TIMEOUT) -run /real $(ARGS) ./test/kafka

soak-kafka: ## Break engine, broker and network at random for SOAK (default 10m) beside a real broker; SEED=n
	@jars=$$(KAFKA=require tools/kafka/broker install); SLUICE_KAFKA_JARS="$$jars" go test -count=1 -timeout 0 -v -run Soak ./test/kafka \
		-soak $(or $(SOAK),10m) $(if $(SEED),-seed $(SEED)) $(ARGS)

test-partition: ## Break a cluster in network namespaces: cuts, kills, stops, full disks, clocks; SEEDS=first+count (default 0+5)
	@python=$$(tools/foreign); SLUICE_DUCKDB_PYTHON="$$python" SLUICE_SEEDS=$(or $(SEEDS),0+5) go test -count=1 -tags invariants -timeout 0 -v $(ARGS) ./test/partition

test-upgrade: ## Replace drivers and workers under running queries, also by builds that must be refused; FROM=commit begins with that one
	go test -count=1 -timeout 30m -v $(ARGS) ./test/upgrade -others $(if $(FROM),-from $(FROM))

chaos: ## Run a chunk of every long suite on new seeds and write it into test/LEDGER.md
	@for s in protocol mutants bubble days bubble-mutants disk-mutants power state damage kafka cluster-kafka partition; do tools/chaos $$s; done

# Root runs the server as nobody, who may not be able to enter this folder.
PGDIR := $(if $(filter 0,$(shell id -u)),/var/tmp/sluice-postgres-server,.work/postgres/server)
PGPORT ?= 5433

postgres-up: ## Start a real PostgreSQL on 127.0.0.1:5433 (PGPORT=n), with files of its own
	@tools/postgres/server up $(PGDIR) $(PGPORT)
	@echo "PostgreSQL listens on 127.0.0.1:$(PGPORT): postgres://sluice@127.0.0.1:$(PGPORT)/postgres, its password is in $(abspath $(PGDIR))/password"

postgres-down: ## Stop the server of make postgres-up; its files stay
	@tools/postgres/server down $(PGDIR)

test-postgres: ## Run the tests with a real PostgreSQL, which they start (installed, or Debian's package); POSTGRES=off leaves them out
	@bin=$$(tools/postgres/server install); [ -z "$$bin" ] || SLUICE_POSTGRES="$$bin" go test -count=1 -timeout $(TIMEOUT) $(ARGS) ./test/postgres

test-chart: ## Render the Helm chart with Helm itself and hold it against the types of Kubernetes (builds Helm: minutes)
	go -C tools/chart test -count=1 $(ARGS) ./...

slt: ## Run the SQL logic tests; F=test/slt/x.slt:12 runs one record
	@python=$$(tools/foreign); SLUICE_DUCKDB_PYTHON="$$python" go test -tags invariants -timeout $(TIMEOUT) $(SLTPKGS) -run 'SLT|Oracle' $(ARGS) $(if $(F),-slt=$(F))

slt-cluster: ## Run the streaming queries of all SQL logic tests on clusters, also while workers and drivers come and go; F=file:line as above
	go test -count=1 -tags invariants -timeout $(TIMEOUT) -v -run SLTCluster $(ARGS) ./test -cluster all $(if $(F),-slt=$(F))

rewrite: ## Write what tests print into their expected files; review the diff
	go test -tags invariants $(REWRITEPKGS) -rewrite
	@git status --short

proto: ## Generate the Go code of the messages between drivers and workers
	go test ./internal/transport/wire/wirepb -rewrite

sim: ## Simulate the protocol; SEED=n replays one seed, SEEDS=n runs n of them
	go run -tags invariants ./cmd/sluice-sim $(if $(SEED),-seed $(SEED)) $(if $(SEEDS),-seeds $(SEEDS)) $(ARGS)

fuzz: ## Run each fuzz target for FUZZTIME (default 20s)
	@tools/fuzz

fuzz-sql: ## Hold random queries against DuckDB; SEED=n, QUERIES=n (default 5000)
	@python=$$(tools/foreign); SLUICE_DUCKDB_PYTHON="$$python" go test -tags invariants -count=1 -timeout 0 -v -run SQL ./test/fuzz $(if $(SEED),-seed $(SEED)) -queries $(or $(QUERIES),5000) $(ARGS)

fuzz-stream: ## Hold random streaming queries against their batch answers and DuckDB's; SEED=n, QUERIES=n (default 500)
	@python=$$(tools/foreign); SLUICE_DUCKDB_PYTHON="$$python" go test -tags invariants -count=1 -timeout 0 -v -run Stream ./test/fuzz $(if $(SEED),-seed $(SEED)) -streams $(or $(QUERIES),500) $(ARGS)

tpcds: ## Compare the 99 queries of TPC-DS with DuckDB; SF=n is the scale factor (default 0.05)
	@test -x .work/tpcds/venv/bin/python || python3 -m venv .work/tpcds/venv
	@.work/tpcds/venv/bin/python -m pip install -q --disable-pip-version-check -r test/tpcds/requirements.txt
	@rm -rf .work/tpcds/sf && .work/tpcds/venv/bin/python test/tpcds/prepare.py .work/tpcds/sf $(or $(SF),0.05)
	SLUICE_TPCDS="$(CURDIR)/.work/tpcds/sf" go test -count=1 -timeout 0 ./test/tpcds $(ARGS)

nexmark: ## Hold the queries of Nexmark to DuckDB; EVENTS=n (default 10000000)
	@python=$$(tools/foreign); SLUICE_DUCKDB_PYTHON="$$python" go test -count=1 -timeout 0 -v ./test/nexmark -events $(or $(EVENTS),10000000) $(ARGS)

bench: ## Run every benchmark once; bench/record keeps results
	go test -run '^$$' -bench . -benchmem -benchtime 1x $(ARGS) $(BENCHPKGS)

ci: ## Run what the continuous integration runs
	@.ci/run

clean: ## Remove what was built and installed here
	rm -rf bin out .work
	go clean -testcache
