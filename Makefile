# Every target sets up what it needs: a fresh clone, Python 3.11 or newer and make are enough.
#   BASE=Qwen/Qwen2.5-7B-Instruct make serve      another base
#   PORT=9000 make serve                          another port
#   make setup PROFILE=cpu                        force a profile (gpu or cpu)
#   make heldout BANKING77=folder                 with banking77's train.jsonl and test.jsonl
.DEFAULT_GOAL := help
.PHONY: help setup training serve test check format tour heldout families bench fuzz tools image sbom docs site lock clean

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; \
	done || true)
PROFILE ?= auto
# Without compiled modules every start of vLLM's three processes would compile torch anew.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin

ifdef BASE
export DSLM_BASE := $(BASE)
endif
ifdef PORT
export DSLM_PORT := $(PORT)
endif

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "make %-10s%s\n", $$1, $$2}'

setup: ## install everything into .venv (does nothing when done); PROFILE=gpu|cpu forces one
	@$(or $(PYTHON),python3) -m deploy.setup.setup --profile $(PROFILE)

training: setup ## what only QLoRA uses, into .venv/train; `make setup` does this too
	@$(or $(PYTHON),python3) -m deploy.setup.training

serve: setup ## index the example domains and answer on http://127.0.0.1:8080
	@$(BIN)/dslm serve

test: check ## what CI runs: every check and every test

check: setup tools ## format, lint, types, imports, budgets, then the tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m deploy.checks.budget
	@$(BIN)/python -m pytest

format: setup ## put the code into the house's form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

tour: setup ## five minutes' walk through the product, each step checked
	@$(BIN)/python -m deploy.demo.tour

heldout: setup ## the held-out questions in each mode, printed and put into the model card
	@$(BIN)/python -m eval demo $(if $(BANKING77),--data $(BANKING77))

families: setup ## every family of bases: trained on, served by vLLM, compared with peft
	@$(BIN)/python -m eval families

bench: setup ## speed, as ratios to a peer measured in the same run
	@$(BIN)/python -m eval.bench relay
	@$(BIN)/python -m eval.bench swap

fuzz: setup ## 10,000 calls of every kind by the service's own OpenAPI document
	@$(BIN)/python -m tests.service.fuzz --calls 10000

tools: setup ## fetch helm and promtool, with which tests check the deployment, into .cache
	@$(BIN)/python -m deploy.checks.tools

image: setup ## build the CPU image without Docker and run it read-only; as root, with debootstrap
	@$(BIN)/python -m deploy.checks.image

sbom: setup ## what serving is made of and under which licences, as CycloneDX in dist/
	@$(BIN)/python -m deploy.checks.sbom

docs: setup ## write the tree in deploy/docs/tree.md and the settings in the chart's schema anew
	@$(BIN)/python -m deploy.checks.tree
	@$(BIN)/python -m deploy.checks.chart

site: setup ## build the documentation site into dist/site, warnings as errors
	@$(BIN)/python -m deploy.site.build

lock: setup ## write deploy/setup/requirements-cpu.txt anew from what .venv holds
	@$(BIN)/python -m deploy.setup.lock

clean: ## remove .venv, the store and every cache
	rm -rf .venv .venv.lock store .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
