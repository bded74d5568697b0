# make build    bin/gantry, bin/gantry-agent and bin/hook.sh
# make test     every test, on real engines: installs what is missing (root, Debian or Ubuntu), starts and ends them
# make test-kubernetes  the same on a real Kubernetes of one node
# make demo     gantry run examples/ci.yml, with everything that it needs
# make lint     vet, staticcheck, deadcode, govulncheck
# make race     the tests that need no engine, with the race detector
# make cross    the programs for arm64 and arm
# make bench    gantry beside the engines' own commands: the tables of docs/performance.md
# make bench-kubernetes  that of them which is about Kubernetes
# make conform  gantry's hook against every case of gantry conform, on Docker and Podman
# make conform-kubernetes  the same on Kubernetes, in each mode
# make mutants  every broken hook against the cases that must find it
# make faults   the hook killed at every place, and Kubernetes broken under it, with the figures

MODULE  := github.com/gantry-ci/gantry
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOBUILD := CGO_ENABLED=0 GOOS=linux go build -trimpath -buildvcs=false -ldflags "$(LDFLAGS)"

# The agent is copied into every job's folder: it stays small and has no dependencies.
AGENT_MAX_BYTES := 8000000

TOOLS       := $(CURDIR)/.cache/bin
TESTBED     := $(TOOLS)/testbed
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
DEADCODE    := golang.org/x/tools/cmd/deadcode@v0.52.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: build cross testbed test test-kubernetes race lint vet staticcheck deadcode govulncheck faults bench bench-kubernetes demo clean mutants conform conform-kubernetes
.DEFAULT_GOAL := build

build:
	@outside=$$(GOOS=linux go list -deps -f '{{with .Module}}{{if ne .Path "$(MODULE)"}}{{$$.ImportPath}} {{end}}{{end}}' ./cmd/gantry-agent) && \
	  outside=$$(echo $$outside) && \
	  if [ -n "$$outside" ]; then echo "gantry-agent links outside the standard library: $$outside" >&2; exit 1; fi
	@mkdir -p bin
	$(GOBUILD) -o bin/gantry-agent ./cmd/gantry-agent
	@size=$$(wc -c <bin/gantry-agent) && if [ "$$size" -gt $(AGENT_MAX_BYTES) ]; then \
	  echo "gantry-agent has $$size bytes; $(AGENT_MAX_BYTES) are allowed" >&2; exit 1; fi
	install -m 0755 cmd/gantry-agent/hook.sh bin/hook.sh
	$(GOBUILD) -o bin/gantry ./cmd/gantry

cross:
	@mkdir -p bin/linux-arm64 bin/linux-arm
	GOARCH=arm64 $(GOBUILD) -o bin/linux-arm64/ ./cmd/gantry-agent ./cmd/gantry
	GOARCH=arm   $(GOBUILD) -o bin/linux-arm/   ./cmd/gantry-agent ./cmd/gantry

# Built, because `go run` neither passes signals on nor keeps exit statuses.
testbed:
	go build -o $(TESTBED) ./internal/testbed/cmd/testbed

# Packages whose tests need a Kubernetes, or a builder of images without one.
KUBERNETES := ./internal/testbed/kubetest ./internal/podspec/... ./internal/engine/kube ./internal/imagebuild ./internal/e2e/kubernetes

# The engines run in a network of their own, without a way out: modules are fetched before. Packages are tested one
# after the other, because they share the engines; tests wait for them often enough that three at once suit two cores.
test: build testbed
	go mod download
	$(TESTBED) run -- go test -p 1 -parallel 3 -timeout 45m $$(go list ./... | grep -vxF "$$(go list $(KUBERNETES))")

# The first time, the node's programs are built, which takes minutes. The tests mostly wait for the cluster, so that more of
# them run at once than there are cores.
test-kubernetes: build testbed
	go mod download
	$(TESTBED) run --only kubernetes,buildkit,registry,rootless -- go test -p 1 -parallel 4 -timeout 40m $(KUBERNETES)

# Without an engine the tests that need one skip themselves, which CI=true would turn into failures. Many of the others wait
# for processes and timeouts.
race:
	@command -v $${CC:-gcc} >/dev/null || { echo "the race detector needs a C compiler: apt-get install gcc libc6-dev" >&2; exit 1; }
	CI= CGO_ENABLED=1 go test -race -p 4 -timeout 10m ./...

lint: vet staticcheck deadcode govulncheck

vet:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')) && if [ -n "$$unformatted" ]; then \
	  echo "gofmt: $$unformatted" >&2; exit 1; fi
	go vet ./...
	go mod tidy -diff

staticcheck:
	GOBIN=$(TOOLS) go install $(STATICCHECK)
	$(TOOLS)/staticcheck ./...

# What only tests use counts as used.
deadcode:
	GOBIN=$(TOOLS) go install $(DEADCODE)
	@dead=$$($(TOOLS)/deadcode -test ./...) && if [ -n "$$dead" ]; then echo "$$dead" >&2; exit 1; fi

# Status 3 is a finding. Any other failure means that the tool or its database cannot be fetched here.
govulncheck:
	@mkdir -p $(TOOLS); GOBIN=$(TOOLS) go install $(GOVULNCHECK) 2>$(TOOLS)/govulncheck.log || \
	  { echo "govulncheck: left out, it cannot be fetched: $$(tail -n 1 $(TOOLS)/govulncheck.log)"; exit 0; }; \
	$(TOOLS)/govulncheck ./... >$(TOOLS)/govulncheck.log 2>&1; status=$$?; \
	case $$status in \
	  0) echo "govulncheck: nothing found" ;; \
	  3) cat $(TOOLS)/govulncheck.log; exit 3 ;; \
	  *) echo "govulncheck: left out, its database cannot be read: $$(tail -n 1 $(TOOLS)/govulncheck.log)" ;; \
	esac

faults: testbed
	go mod download
	GANTRY_TEST_ALL_FAULTS=1 $(TESTBED) run -- go test -count=1 -v -timeout 20m -run 'Killed|Failpoint' ./internal/e2e
	$(TESTBED) run --only kubernetes,registry -- go test -count=1 -v -timeout 30m -run 'Killed|Cut|Outlive|GoesAway|DeadRunner' ./internal/e2e/kubernetes

# Every broken hook against the cases that must find it and against others that must not; `make test` tries a sample.
mutants: build testbed
	GANTRY_TEST_ALL_MUTANTS=1 $(TESTBED) run --only docker,rootless -- go test -count=1 -timeout 180m -run TestMutantsAreFound ./internal/conformance/mutants

# gantry's hook against every case, on every engine, and the tables of docs/conformance.md; `make test` and
# `make test-kubernetes` try samples. On Kubernetes it is a target of its own.
conform: build testbed
	GANTRY_TEST_ALL_CASES=1 $(TESTBED) run -- go test -count=1 -timeout 60m -run TestGantryConforms ./internal/conformance -update

conform-kubernetes: build testbed
	go mod download
	GANTRY_TEST_ALL_CASES=1 $(TESTBED) run --only kubernetes -- go test -count=1 -timeout 60m -run TestGantryConformsOnKubernetes ./internal/e2e/kubernetes -update

bench: build testbed
	$(TESTBED) run --only docker,podman -- go run ./internal/bench --markdown
	go test ./internal/docstest -run Figures -update
	$(MAKE) bench-kubernetes

bench-kubernetes: build testbed
	go mod download
	$(TESTBED) run --only kubernetes,registry -- env GANTRY_TEST_PROGRAMS=$(CURDIR)/bin GANTRY_BENCH=$(CURDIR)/docs/performance.md \
	  go test -count=1 -v -timeout 40m -run TestFigures ./internal/e2e/kubernetes

demo: build
	@go build -o $(TOOLS)/demo ./examples/demo
	@$(TOOLS)/demo

clean:
	rm -rf bin .cache
