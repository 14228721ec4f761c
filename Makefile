# Everything a person types starts here; the work is done by cargo and by `cargo xtask` (see `cargo xtask help`).

# The dev profile is the quickest way to a first virtual machine: its cold build takes less than half the time of the
# release build, and the programs spend their time waiting for QEMU, not computing. `make up PROFILE=release` for the rest.
PROFILE ?= dev
PREFIX ?= /usr/local
DESTDIR ?=

ifeq ($(PROFILE),dev)
BIN := target/debug
else
BIN := target/$(PROFILE)
endif

CARGO ?= cargo
XTASK := $(CARGO) run --quiet --locked --package xtask --
BUILD := $(CARGO) build --workspace --locked --profile $(PROFILE)
# Cargo is often installed for one user and not yet on the PATH of the shell that runs make.
export PATH := $(PATH):$(HOME)/.cargo/bin
# Where `hypervisor dev` finds the demo guest.
export HYPERVISOR_DEMO_DIR := $(CURDIR)/target/demo

.DEFAULT_GOAL := help
.PHONY: all build build-server build-agent build-ctl proto test test-short test-long test-coverage test-bare \
	lint fmt bench run-server run-agent up down demo demo-image install clean help bootstrap

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  %-14s %s\n", $$1, $$2 }'

all: build ## Same as build

# Without a linker not even xtask can be built, so this one step is shell. cc alone is not enough: crt1.o is in libc6-dev.
bootstrap:
	@command -v $(CARGO) >/dev/null || { \
		echo "cargo is missing: install Rust from https://rustup.rs (the cargo of Debian 12 is too old)"; exit 1; }
	@if ! command -v cc >/dev/null || ! echo 'int main(void){return 0;}' | cc -x c -o /dev/null - 2>/dev/null; then \
		echo "The C linker is missing; installing the packages gcc and libc6-dev"; \
		if [ "$$(id -u)" = 0 ]; then run=; elif command -v sudo >/dev/null; then run=sudo; else \
			echo "neither root nor sudo: run as root: apt-get install gcc libc6-dev"; exit 1; fi; \
		$$run apt-get update -q && \
		$$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends gcc libc6-dev; \
	fi

build: bootstrap ## Build everything
	$(XTASK) packages build
	$(BUILD)

# One build of the workspace, whatever is asked for: building single packages selects other features and compiles twice.
build-server build-agent build-ctl: build ## Build; the program is then in target/

proto: build ## Compile the API (part of the build: no protoc is needed)

test: bootstrap ## Install what is missing, then run every check and test, as CI does
	$(XTASK) packages test
	$(XTASK) check

test-short: bootstrap ## Unit tests only
	$(XTASK) test --short

test-long: bootstrap ## All tests, also those that take minutes
	$(XTASK) packages test
	$(XTASK) test --long

test-coverage: bootstrap ## Line coverage as HTML in target/coverage
	$(XTASK) packages test
	$(XTASK) coverage

test-bare: bootstrap ## `make demo` inside a fresh Debian 12 (needs root)
	$(XTASK) packages test
	$(XTASK) bare demo

lint: bootstrap ## Format, rules between crates, clippy, documentation
	$(XTASK) lint

fmt: bootstrap ## Format the code
	$(CARGO) fmt --all

bench: bootstrap ## Run all benchmarks; one table in target/bench/table.md
	$(XTASK) packages test
	$(XTASK) bench

run-server: build ## Run hypervisor-server with the configuration it finds
	exec $(BIN)/hypervisor-server

run-agent: build ## Run hypervisor-agent with the configuration it finds
	exec $(BIN)/hypervisor-agent

demo-image: bootstrap
	$(XTASK) packages run
	$(XTASK) demo-image

up: build demo-image ## From nothing to a running virtual machine; Ctrl-C ends it
	exec $(BIN)/hypervisor dev

demo: build demo-image ## The same unattended: boots, checks, stops, leaves nothing behind
	exec $(BIN)/hypervisor dev --demo

down: build ## Stop whatever an earlier `make up` left running
	exec $(BIN)/hypervisor down

install: ## Install programs and systemd units (DESTDIR, PREFIX)
	$(MAKE) build PROFILE=dist
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system
	for program in hypervisor hypervisor-server hypervisor-agent hypervisor-ctl; do \
		install -m 0755 target/dist/$$program $(DESTDIR)$(PREFIX)/bin/ || exit 1; done
	for unit in packaging/systemd/*.service; do \
		sed 's|@PREFIX@|$(PREFIX)|g' "$$unit" >"$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/}" || exit 1; done
	$(DESTDIR)$(PREFIX)/bin/hypervisor-ctl man $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(DESTDIR)$(PREFIX)/bin/hypervisor-ctl completion bash \
		>$(DESTDIR)$(PREFIX)/share/bash-completion/completions/hypervisor-ctl
	$(DESTDIR)$(PREFIX)/bin/hypervisor-ctl completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_hypervisor-ctl
	$(DESTDIR)$(PREFIX)/bin/hypervisor-ctl completion fish \
		>$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/hypervisor-ctl.fish

clean: ## Remove what was built
	$(CARGO) clean
