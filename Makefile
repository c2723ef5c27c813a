# The two commands: `make demo` runs a real application, `make check` passes the tests. Each does its own set-up.
#
#   make            release build: build/drover, benchmarks in build/bench/
#   make demo       build, make a base image, build and start examples/counter, fetch a page
#   make demo-down  stop it and what it started (its data stays; DATA=1 removes that too)
#   make check      all tests, with sanitizers where they are unit tests; ends with "N passed, N failed"
#   make check-vm   only those on a booted cgroup v2 host (QEMU, software emulation; part of check)
#   make soak       kill serve and keeper at random under LAUNCHES=500 launches, and check every byte (docs/soak.md)
#   make reliability  write to a swarm of five while its machines are killed and cut off, RUNS=5 (docs/reliability.md)
#   make suites     crun's, runc's and runtime-tools' own tests against drover-oci, crun and runc (docs/oci.md)
#   make api-suites moby's own tests of Docker's API against Drover and dockerd (docs/compatibility.md)
#   make bench      the tables of docs/benchmarks.md, from one run
#   make install    DESTDIR= PREFIX=/usr/local
#   make format     clang-format over the tree
#   make clean

PREFIX ?= /usr/local
DESTDIR ?=

.PHONY: all build setup demo demo-down check check-build check-vm lint soak reliability suites api-suites bench install format clean

all: build

setup:
	@scripts/setup build

build: setup
	@test -f build/build.ninja || { echo "configuring a release build in build/"; meson setup build --buildtype=release $(if $(CI),--werror) -Dprefix=$(PREFIX) >build.log 2>&1 || { cat build.log; rm -f build.log; exit 1; }; rm -f build.log; }
	@echo "building build/drover"
	@ninja -C build --quiet

demo: build
	@scripts/setup demo
	@scripts/demo up

demo-down:
	@scripts/demo down

# Sanitized unit tests live in a build of their own.
check-build: setup
	@scripts/setup check
	@test -f build-asan/build.ninja || { echo "configuring a sanitized build in build-asan/"; meson setup build-asan -Db_sanitize=address,undefined -Db_lundef=false --werror >build-asan.log 2>&1 || { cat build-asan.log; rm -f build-asan.log; exit 1; }; rm -f build-asan.log; }
	@echo "building the unit tests with sanitizers"
	@ninja -C build-asan --quiet

check: build check-build
	@python3 tests/run.py

check-vm: build
	@scripts/setup check
	@python3 tests/run.py vm

LAUNCHES ?= 500
soak: build
	@scripts/setup check
	@DROVER=$(CURDIR)/build/drover unshare --net python3 -u tests/crash/soak.py --launches $(LAUNCHES)

RUNS ?= 5
reliability: build
	@scripts/setup check
	@DROVER=$(CURDIR)/build/drover unshare --net python3 -u tests/hosts/reliability.py --runs $(RUNS)

suites: build
	@scripts/setup suites
	@python3 -u tests/suites/main.py

api-suites: build
	@scripts/setup api-suites
	@python3 -u tests/suites/api.py

lint:
	@python3 tests/run.py lint

bench: build
	@scripts/setup bench
	@bench/run
	@bench/launch
	@bench/api
	@bench/registry
	@bench/unpack
	@bench/store
	@bench/simulate
	@bench/cluster
	@bench/failover

install: build
	@meson configure build -Dprefix=$(PREFIX) >/dev/null && ninja -C build --quiet
	meson install -C build --no-rebuild --quiet $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	rm -rf build build-asan
