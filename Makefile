# Everything a person types more than once. `make help` lists it.

BENCH ?= virtual-vtd
ARGS ?=
SETUP ?= yes
BIN := .venv/bin

.PHONY: help setup qualify test lint fast bench clean
.NOTPARALLEL:
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' Makefile | expand -t 12
	@echo
	@echo "  BENCH=NAME|FILE.toml  the bench of make qualify ($(BENCH))"
	@echo "  ARGS=...              more arguments for throughpass qualify"
	@echo "  SETUP=no              install nothing: .venv and the programs are there"

setup: ## install what is missing: Debian packages, then .venv
ifneq ($(SETUP),no)
	@tools/setup.sh
endif

qualify: setup ## qualify a board on a bench and write its report
	$(BIN)/throughpass qualify $(BENCH) $(ARGS)

test: setup lint fast bench ## everything that must pass before a commit is shared

lint: setup ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fast: setup ## the tests that need no bench
	$(BIN)/pytest tests -m "not bench" -q -n auto

bench: setup ## the tests that boot the virtual bench
	$(BIN)/pytest tests -m bench -n 2 --dist loadfile

clean: ## remove .venv and what the tools left; runs and cached images stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -path ./.git -prune -o -name __pycache__ -type d -exec rm -rf {} +
