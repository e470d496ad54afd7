# What there is to do here. `make help` lists it.

GO       ?= go
TOOL      = $(GO) tool -modfile=tools/go.mod
FUZZTIME ?= 20s
PLATFORMS = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.PHONY: help run test lint fuzz bench prove list cross govulncheck

help: ## list what there is to do
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## start the service on 127.0.0.1:8080
	$(GO) run ./cmd/cloakroom serve

# The race detector does not look into the hash functions and into SQLite, which is C
# translated to Go: neither shares memory with anybody else's code, and under it they
# take half of the time. It looks at all that calls them. (A package belongs here only if
# it has no generic code of others in it, such as sync.Map: the linker takes any copy.)
# "make test UNWATCHED=" has it look at everything.
UNWATCHED = $(addprefix golang.org/x/crypto/,argon2 bcrypt blake2b blowfish scrypt) modernc.org/libc modernc.org/sqlite/lib

# Without GORACE every program under the race detector sleeps for a second at its end.
test: ## run every test under the race detector, beside real servers
	@scripts/tools || : # the tests that need it say so themselves
	@GORACE=atexit_sleep_ms=0 GO='$(GO)' GOFLAGS="$$($(GO) env GOFLAGS)$(UNWATCHED:%= -gcflags=%=-race=false)" \
		scripts/services run $(GO) test -race -timeout 40m ./...

# Staticcheck and govulncheck are pinned in a module of their own, so that no
# program that imports Cloakroom finds them in its module graph.
lint: ## check format, vet, staticcheck and the shell scripts
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted with gofmt:"; echo "$$unformatted"; exit 1; fi
	sh -n scripts/tools
	sh -n scripts/services
	sh -n scripts/prove
	bash -n .ci/run
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(TOOL) staticcheck ./...

fuzz: ## fuzz every target for FUZZTIME (20s), one after the other
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$pkg"; \
		done; \
	done

# The peers stand in a module of their own, where no program that imports
# Cloakroom finds them. Our own benchmarks: go test -run '^$$' -bench . ./...
bench: ## compare with other session libraries, side by side; BENCH="-only memory" chooses
	@GO='$(GO)' scripts/services run sh -c 'cd bench && "$$@"' bench $(GO) run . $(BENCH)

prove: ## prove what takes too long for every change; WHAT="tests fuzz login list" chooses
	@GO='$(GO)' scripts/prove $(WHAT)

list: ## run the tests of promises, requirements and attacks, and list them by number
	@GO='$(GO)' scripts/prove list

cross: ## compile everything without cgo for every platform, and the tests for two of them
	@set -e; for p in $(PLATFORMS); do \
		echo "$$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build ./...; \
	done; \
	for p in windows/amd64 darwin/arm64; do \
		echo "$$p, tests"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) vet -asmdecl ./...; \
	done

govulncheck: ## look for known vulnerabilities in what is called
	$(TOOL) govulncheck ./...
