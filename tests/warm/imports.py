"""Everything that takes a command, a step or a rank long to import, imported once."""

from __future__ import annotations

import importlib
import pkgutil

import boto3  # noqa: F401
import deepspeed  # noqa: F401
import jsonschema  # noqa: F401
import mlflow
import mlflow.cli
import mlflow.server
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
import torch
import torch.distributed.run
import trl  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
from trl import DPOTrainer  # noqa: F401

import lidr.components.evaluate.harness
import lidr.components.evaluate.run
import lidr.components.gate.run
import lidr.components.generate.run
import lidr.components.pair.run
import lidr.components.prepare.run
import lidr.components.register.run
import lidr.components.report.run
import lidr.components.shared.engines.transformers_engine
import lidr.components.shared.forward.scoring
import lidr.components.state.run
import lidr.components.toy.pretrain
import lidr.components.train.assembly
import lidr.components.train.launch.node
import lidr.components.train.preference
import lidr.components.train.run
import lidr.components.train.trainer
import lidr.components.translate.run
from lidr.pipelines.lean import import_kfp

import_kfp()

import kfp.local  # noqa: E402
import kfp.local.subprocess_task_handler  # noqa: E402, F401

import lidr.pipelines.cli  # noqa: E402
import lidr.pipelines.driver  # noqa: E402
import lidr.pipelines.local  # noqa: E402
import lidr.pipelines.loop  # noqa: E402
from lidr.components.shared.core.languages import LanguageIdentifier  # noqa: E402

for _command in pkgutil.iter_modules(lidr.pipelines.cli.__path__):
    if _command.name != "__main__":
        importlib.import_module(f"lidr.pipelines.cli.{_command.name}")
torch.set_num_threads(1)
# One text at a time, because a pool of threads does not outlive a fork; its models do.
LanguageIdentifier(("en", "es", "de", "fr"))._latin_detector.detect_language_of(
    "How many are there?"
)
