# Everything runs in a virtual environment of its own, made on first use; a second make reinstalls nothing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo data test quick faults lint train ablation report tensorboard bench clean

help: ## list these targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 22

install: $(INSTALLED) ## make .venv with the tested versions (6.7 GB on disk, mostly torch)

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 …"; exit 2; }
	@echo "Installing torch, Lightning, Hydra and the rest into $(VENV) (6.7 GB, some minutes) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e ".[dev]"
	@touch $@

demo: $(INSTALLED) ## train DNN and CNN on the built-in faces (2.5 to 6 minutes on two CPU cores) and compare them
	$(BIN)/python -m fer_lightning --multirun model=dnn,cnn data=synthetic aug=norm $(ARGS)

data: $(INSTALLED) ## FER2013 from Kaggle into data/, compared with what it must be (ARGS="--from images": as jpg files)
	@$(BIN)/python -c "import kagglehub" 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e ".[data]"
	$(BIN)/python -m fer_lightning.download $(ARGS)

# Up to four processes, a core each: every one imports torch, and trains the runs that its tests share.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal

test: $(INSTALLED) ## run the tests (ARGS="-k resume": a part of them)
	$(PYTEST) $(ARGS)

quick: $(INSTALLED) ## run the tests that are not slow, a bit of everything: about a minute
	$(PYTEST) -m "not slow" $(ARGS)

faults: $(INSTALLED) ## kills, full disks, broken input: what `make test` does a part of, many times; see docs/reliability.md
	FAULTS=all $(BIN)/python -m pytest tests/faults tests/settings/test_parallel.py tests/bench/test_gpu.py $(ARGS)

lint: $(INSTALLED) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

train: $(INSTALLED) ## one run: make train ARGS="model=dnn aug=norm trainer.max_epochs=50"
	$(BIN)/python -m fer_lightning $(ARGS)

ablation: $(INSTALLED) ## none, norm and norm_aug, compared: make ablation ARGS="model=dnn seed=0,1,2"
	$(BIN)/python -m fer_lightning --multirun aug=none,norm,norm_aug $(ARGS)

# Both networks, the three settings and the strengths set too high, as one page. With ARGS for its length, say
# make report ARGS="trainer.max_epochs=20 seed=0,1,2"; a run's folder is never used twice, so the study's carries the time.
STUDY := outputs/study-$(shell date +%Y%m%d-%H%M%S)
report: $(INSTALLED) ## the whole study, end to end, as one HTML page (ARGS="trainer.max_epochs=20 data.root=PATH")
	$(BIN)/python -m fer_lightning --multirun model=dnn,cnn aug=none,norm,norm_aug hydra.sweep.dir=$(STUDY)/ablation $(ARGS)
	$(BIN)/python -m fer_lightning --multirun model=dnn experiment=too_strong hydra.sweep.dir=$(STUDY)/too_strong $(ARGS)
	$(BIN)/python -m fer_lightning.report $(STUDY) --out $(STUDY)/report.html

tensorboard: $(INSTALLED) ## curves, images and hyper-parameters of all runs, in the browser
	$(BIN)/tensorboard --logdir outputs

bench: $(INSTALLED) ## speed beside a plain baseline, some 20 minutes (ARGS=--quick: small sizes; ARGS="dnn csv": single rows)
	$(BIN)/python -m bench $(ARGS)

clean: ## remove .venv and caches; outputs/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache
