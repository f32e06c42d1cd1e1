# make test is what every change must pass; make help lists the rest.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # the summary of the tests comes last

GO          ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

PKG      ?= ./...
FUZZTIME ?= 10s
BENCH    ?= .
SEEDS    ?= 100
FIRST    ?= 1
RUNS     ?= 3
FAULT    ?= .*

# What the tests run besides grantd: authorization servers in Go, a module of
# their own, and packages of npm, each folder with its lock file.
GO_SERVERS := tests/servers/go
NPM_LOCKS  := $(wildcard tests/*/package-lock.json tests/*/*/package-lock.json)
NPM_STAMPS := $(NPM_LOCKS:package-lock.json=node_modules/.package-lock.json)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/grantd
	$(GO) build -o bin/grantd ./cmd/node

.PHONY: test
test: deps lint vuln ## fetch what the tests need, check the sources, run all tests
	$(GO) test -race -timeout 15m $(PKG)
	$(GO) test -timeout 15m ./actors ./internal/sim # the long tests are not for the race detector

.PHONY: sim
sim: ## simulate crashes at every write to the disk, and SEEDS random lives, from FIRST on, of a node and of clusters
	SIM_ALL=1 SEEDS=$(SEEDS) FIRST=$(FIRST) $(GO) test -timeout 24h ./internal/sim

.PHONY: chaos
chaos: ## as root: break a cluster of real processes in every way, RUNS times; FAULT=killed
	CHAOS_RUNS=$(RUNS) $(GO) test -v -count 1 -timeout 12h -run 'TestEveryFault/^($(FAULT))$$' ./tests/chaos

.PHONY: deps
deps: $(NPM_STAMPS) ## fetch what the tests need
	$(GO) build $(PKG)
	$(GO) -C $(GO_SERVERS) build ./...

%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	@command -v npm >/dev/null || { echo 'make: the tests need Node.js 20 or newer with npm; install them, or run .ci/run, which does' >&2; exit 1; }
	cd $* && npm ci
	@touch $@

.PHONY: lint
lint: format vet staticcheck golangci ## check the sources without running them

.PHONY: format
format:
	@unformatted=$$(find . -name '*.go' -not -path '*/node_modules/*' -exec gofmt -l {} +); \
	if [[ -n $$unformatted ]]; then printf 'not gofmt-ed; run gofmt -w on:\n%s\n' "$$unformatted" >&2; exit 1; fi

.PHONY: vet
vet:
	$(GO) vet $(PKG)
	$(GO) vet -tags failpoints $(PKG)
	$(GO) -C $(GO_SERVERS) vet ./...

.PHONY: staticcheck
staticcheck:
	$(GO) run $(STATICCHECK) $(PKG)
	$(GO) -C $(GO_SERVERS) run $(STATICCHECK) ./...

# Its settings are in .golangci.yml. It is an extra for those who have it.
.PHONY: golangci
golangci:
	@if command -v golangci-lint >/dev/null; then golangci-lint run $(PKG); \
	else echo 'golangci-lint: skipped, it is not installed'; fi

# Exit status 3 of govulncheck means that it found something.
.PHONY: vuln
vuln: ## look for known vulnerabilities that the code can reach
	@GOBIN=$(CURDIR)/bin $(GO) install $(GOVULNCHECK)
	@status=0; report=$$(bin/govulncheck $(PKG) 2>&1) || status=$$?; \
	if [[ $$status != 0 && $$report == *'fetching vulnerabilities'* ]]; then \
		echo 'govulncheck: skipped, its database cannot be reached from here'; \
	else printf '%s\n' "$$report"; exit $$status; fi

.PHONY: bench
bench: ## run the benchmarks; BENCH=regexp, PKG=./storage
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 60m $(PKG)

.PHONY: fuzz
fuzz: ## run every fuzz test for FUZZTIME; PKG=./wire
	@for dir in $$($(GO) list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}' $(PKG)); do \
		for name in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$$dir"/*_test.go); do \
			echo "$$dir $$name"; \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir"; \
		done; \
	done

.PHONY: tidy-check
tidy-check: ## check that go.mod and go.sum hold what is needed, unchanged
	$(GO) mod tidy -diff
	$(GO) -C $(GO_SERVERS) mod tidy -diff
	$(GO) mod verify

.PHONY: clean
clean: ## remove what was built and fetched
	rm -rf bin $(NPM_LOCKS:package-lock.json=node_modules)
