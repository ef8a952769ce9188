"""Everything that a step imports, imported once: what `forks.py` forks has it already."""

from __future__ import annotations

import boto3  # noqa: F401
import mlflow
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
import torch
import trl  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
from trl import DPOTrainer  # noqa: F401

import components.evaluate.harness
import components.evaluate.run
import components.gate.run
import components.generate.run
import components.pair.run
import components.register.run
import components.report.run
import components.shared.engines.transformers_engine
import components.state.run
import components.train.assembly
import components.train.preference
import components.train.run
import components.train.scoring
import components.train.trainer
import components.translate.run
import components.world.pretrain
import components.world.run  # noqa: F401
from pipelines.lean import import_kfp

import_kfp()

import kfp.local  # noqa: E402
import kfp.local.subprocess_task_handler  # noqa: E402, F401

import pipelines.driver  # noqa: E402
import pipelines.local  # noqa: E402
import pipelines.loop  # noqa: E402, F401
from components.shared.languages import LanguageIdentifier  # noqa: E402

torch.set_num_threads(1)
# One text at a time, because a pool of threads does not outlive a fork; its models do.
LanguageIdentifier(("en", "es", "de", "fr"))._detector.detect_language_of("How many are there?")
