# Thin: CMake builds, CTest tests. `make run` and `make test` install the distribution's packages they miss.
JOBS   ?= $(shell nproc)
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 5

.PHONY: all build run test fuzz bench install deps deps-test clean

all: build

deps:
	@packaging/install-deps build

deps-test:
	@packaging/install-deps build test

build: deps
	cmake --preset release -DCMAKE_INSTALL_PREFIX=$(PREFIX)
	cmake --build build/release -j $(JOBS) --target tidegate tidegate-sim manual

run: build
	@packaging/demo build/release

# Everything with gcc under ASan and UBSan, then what meets threads under TSan, then each fuzz target with clang for
# some seconds.
test: deps-test
	cmake --preset asan
	cmake --build build/asan -j $(JOBS)
	cmake --preset tsan
	cmake --build build/tsan -j $(JOBS)
	cmake --preset fuzz -DTIDEGATE_FUZZ_SECONDS=$(FUZZ_SECONDS)
	cmake --build build/fuzz -j $(JOBS) --target fuzzers
	ctest --test-dir build/tsan --output-on-failure --no-tests=error -R '^unit\.(base|store|upstream)\.'
	ctest --test-dir build/fuzz --output-on-failure --no-tests=error -R '^fuzz\.'
	ctest --test-dir build/asan --output-on-failure --no-tests=error -j $(JOBS)

fuzz: deps-test
	cmake --preset fuzz -DTIDEGATE_FUZZ_SECONDS=600
	cmake --build build/fuzz -j $(JOBS) --target fuzzers
	ctest --test-dir build/fuzz --output-on-failure --no-tests=error -R '^fuzz\.'

bench: deps-test build
	cmake --build build/release -j $(JOBS) --target benches
	/usr/bin/python3 tests/bench/bench.py build/release
	/usr/bin/python3 tests/bench/outage.py build/release

install: build
	cmake --install build/release

clean:
	rm -rf build
