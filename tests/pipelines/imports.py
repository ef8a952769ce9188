"""Everything that a command and the loop of fake steps take long to import, imported once."""

from __future__ import annotations

import importlib
import pkgutil

from lidr.pipelines.lean import import_kfp

import_kfp()

import kfp.dsl.executor_main  # noqa: E402
import kfp.local.subprocess_task_handler  # noqa: E402, F401

import lidr.components.state.run  # noqa: E402
import lidr.pipelines.cli  # noqa: E402
import lidr.pipelines.loop  # noqa: E402
import tests.pipelines.fake_steps  # noqa: E402, F401

for _command in pkgutil.iter_modules(lidr.pipelines.cli.__path__):
    if _command.name != "__main__":
        importlib.import_module(f"lidr.pipelines.cli.{_command.name}")
