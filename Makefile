# A thin front over CMake: every target says what it does, installs what it lacks, and leaves its results in build/.
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
TIER    ?= full
ONLY    ?=
SECONDS ?= 60

CMAKE = cmake -G Ninja
export NINJA_STATUS = [%f/%t] 

.PHONY: all run test bench interop fuzz asan tsan lint fmt install deb docs clean deps-%

all: deps-build ## build/sightline and the libraries, release flags
	@$(CMAKE) -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=Release $(CMAKE_FLAGS) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@mkdir -p $(BUILD) && mv -f $(BUILD).log $(BUILD)/configure.log
	@ninja -C $(BUILD) --quiet

run: all ## everything in the foreground: gateway, metrics, health, admin
	@exec $(BUILD)/sightline up $(ARGS)

test: deps-test all ## unit and integration tests
	@tests/run --build $(BUILD) $(if $(ONLY),--only $(ONLY))

bench: deps-bench all ## the table, beside the peers; build/bench.json
	@bench/run --build $(BUILD) $(if $(ONLY),--only $(ONLY))

interop: deps-interop all ## real peers; TIER=quick for those that install in seconds
	@SIGHTLINE=$(BUILD)/sightline interop/run --tier $(TIER) $(if $(ONLY),--only $(ONLY))

fuzz: deps-fuzz ## libFuzzer targets; ONLY=target SECONDS=n
	@scripts/fuzz --seconds $(SECONDS) $(if $(ONLY),--only $(ONLY))

asan: deps-test ## unit and integration tests under AddressSanitizer and UBSan
	@$(CMAKE) -S . -B build-asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSL_SANITIZE=address,undefined >/dev/null
	@ninja -C build-asan --quiet
	@tests/run --build build-asan $(if $(ONLY),--only $(ONLY))

tsan: deps-test ## the same under ThreadSanitizer
	@$(CMAKE) -S . -B build-tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSL_SANITIZE=thread >/dev/null
	@ninja -C build-tsan --quiet
	@tests/run --build build-tsan $(if $(ONLY),--only $(ONLY))

lint: deps-lint ## layers, documentation of prototypes, formatting, clang warnings, clang-tidy
	@scripts/lint

fmt: deps-lint ## formats every C file
	@git ls-files '*.c' '*.h' | xargs clang-format-14 -i

docs: all ## docs/reference.md, the man pages and completions, from the tables the code runs on
	@scripts/docs $(BUILD)

install: all ## into $(DESTDIR)$(PREFIX)
	@cmake -DCMAKE_INSTALL_PREFIX=$(PREFIX) $(BUILD) >/dev/null
	@DESTDIR=$(DESTDIR) cmake --install $(BUILD)

deb: deps-deb all ## build/sightline_VERSION_ARCH.deb
	@scripts/deb $(BUILD)

clean:
	rm -rf build build-asan build-tsan build-fuzz build.log

deps-%:
	@scripts/deps $*
