# Everything a person types starts here; the work is done by cargo and by `cargo xtask` (see `cargo xtask help`).

# The dev profile is the quickest way to a first virtual machine: its cold build takes less than half the time of the
# release build, and the programs spend their time waiting for QEMU, not computing. `make up PROFILE=release` for the rest.
PROFILE ?= dev
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
# State of `make run-server` and `make run-agent`.
RUN ?= $(CURDIR)/target/run

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Not expanded at once: `make install` has another profile.
BIN = $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
XTASK := $(CARGO) run --quiet --locked --package xtask --
BUILD = $(CARGO) build --workspace --locked --profile $(PROFILE)
# Cargo is often installed for one user and not yet on the PATH of the shell that runs make.
export PATH := $(PATH):$(HOME)/.cargo/bin
# Where `hypervisor dev` finds the demo guest.
export HYPERVISOR_DEMO_DIR := $(CURDIR)/target/demo

.DEFAULT_GOAL := help
.PHONY: all build build-server build-agent build-ctl proto test test-short test-long test-coverage test-bare \
	lint fmt bench run-server run-agent up down demo demo-image debian-image install install-files clean help bootstrap

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

test-long: debian-image ## All tests, also those that take minutes
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
	$(XTASK) packages bench
	$(XTASK) bench

# As any user, beside whatever this host runs: only the state's place differs from what an installation does.
RUN_ENV = HYPERVISOR_TOKEN_FILE=$(RUN)/token
run-server: build ## Run hypervisor-server with state in target/run
	install -d -m 0700 $(RUN)
	@echo "In other terminals: make run-agent, and"
	@echo "  export HYPERVISOR_SERVER=unix:$(RUN)/server.sock $(RUN_ENV)"
	@echo "  $(BIN)/hypervisor-ctl node list"
	exec env $(RUN_ENV) $(BIN)/hypervisor-server --state-dir $(RUN)/server --socket $(RUN)/server.sock

run-agent: build ## Run hypervisor-agent against that server
	install -d -m 0700 $(RUN)
	exec env $(RUN_ENV) HYPERVISOR_STATE_DIR=$(RUN)/agent $(BIN)/hypervisor-agent --server-addr unix:$(RUN)/server.sock

demo-image: bootstrap ## The demo guest, and the packages that guests need
	$(XTASK) packages run
	$(XTASK) demo-image

debian-image: bootstrap
	$(XTASK) packages test
	$(XTASK) debian-image

up: build demo-image ## From nothing to a running virtual machine; Ctrl-C ends it
	exec $(BIN)/hypervisor dev

demo: build demo-image ## The same unattended: boots, checks, stops, leaves nothing behind
	exec $(BIN)/hypervisor dev --demo

down: build ## Stop whatever an earlier `make up` left running
	exec $(BIN)/hypervisor down

install: PROFILE = dist
install: build install-files ## Programs, units, man pages, completions, examples (DESTDIR, PREFIX, PROFILE)

# BIN is where the programs are.
SHARE = $(DESTDIR)$(PREFIX)/share
UNITS = $(DESTDIR)$(PREFIX)/lib/systemd/system
install-files: ## The same of what is built already (DESTDIR, PREFIX, PROFILE)
	install -d $(DESTDIR)$(PREFIX)/bin $(UNITS) $(DESTDIR)$(SYSCONFDIR)/hypervisor $(SHARE)/man/man1 \
		$(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	install -m 0755 $(addprefix $(BIN)/,hypervisor hypervisor-server hypervisor-agent hypervisor-ctl) \
		$(DESTDIR)$(PREFIX)/bin/
	set -e; for unit in packaging/systemd/*.service; do \
		sed 's|@PREFIX@|$(PREFIX)|g' "$$unit" >"$(UNITS)/$${unit##*/}"; done
	set -e; for file in configs/*.toml; do \
		install -m 0644 "$$file" "$(DESTDIR)$(SYSCONFDIR)/hypervisor/$${file##*/}.example"; done
	$(BIN)/hypervisor-ctl man $(SHARE)/man/man1
	$(BIN)/hypervisor-ctl completion bash >$(SHARE)/bash-completion/completions/hypervisor-ctl
	$(BIN)/hypervisor-ctl completion zsh >$(SHARE)/zsh/site-functions/_hypervisor-ctl
	$(BIN)/hypervisor-ctl completion fish >$(SHARE)/fish/vendor_completions.d/hypervisor-ctl.fish

clean: ## Remove what was built
	$(CARGO) clean
