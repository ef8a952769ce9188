"""A profile for the tests' Kubeflow, and the command line in this process."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lidr.components.shared.config.profile import Kubeflow, Profile, load_profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import recipe_key, state_key
from lidr.pipelines import cli
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.compiled import compile_loop
from lidr.pipelines.stamp import Stamp
from tests.kfp_api import KubeflowApi
from tests.kubernetes_api import KubernetesApi
from tests.yaml_text import read_yaml

TOKEN = "a-token"


@dataclass
class Cluster:
    """Kubeflow, Kubernetes, a store and a profile that leads to them."""

    kubeflow: KubeflowApi
    kubernetes: KubernetesApi
    file: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    @property
    def profile(self) -> Profile:
        return load_profile(self.file)

    @property
    def store(self) -> Store:
        return open_store(self.profile.store)

    @property
    def client(self) -> Client:
        return Client(self.profile)

    def configure(self, **sections: Any) -> None:
        """Change keys of the profile."""
        self.file.write_text(yaml.safe_dump(read_yaml(self.file.read_text()) | sections))

    def lidr(self, command: str, *arguments: str) -> tuple[int, str, str]:
        """Run a command with the profile; return exit code, output and errors."""
        words = ["lidr", command, *arguments, "--profile", str(self.file)]
        self.monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = self.capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    def json(self, command: str, *arguments: str, code: int = 0) -> Any:
        """Run a command that exits with this code, and return what it prints as JSON."""
        exit_code, out, err = self.lidr(command, *arguments, "--output", "json")
        assert exit_code == code, err
        return json.loads(out)

    def end_run(self, state: str = "SUCCEEDED") -> None:
        """Let every run end."""
        for run in self.kubeflow.runs.values():
            self.kubeflow.set_state(run, state)


def stamp(recipe: Recipe, store: str, changes: dict[str, str]) -> str:
    """Return a run's description, changed."""
    return replace(Stamp.of(recipe, store), **changes).text()


def write_end(store: Store, recipe: Recipe, run: str, verdict: str = "stop") -> None:
    """Write what a run leaves that has come to the end of its first iteration."""
    store.write(recipe_key(run), recipe.model_dump_json().encode())
    names = ("inputs", "model", "evaluation", "judgements", "version", "responses", "translations")
    for number, said in enumerate(("continue", verdict)):
        state = dict.fromkeys((*names, "pairs", "decision"), "")
        state |= {"iteration": number, "verdict": said, "promoted": True, "reason": "well"}
        store.write(state_key(run, number), json.dumps(state).encode())
    result = {"iterations": [{}, {}], "final_model": "m", "report": f"{store.uri}/report.html"}
    store.write(f"runs/{run}/result.json", json.dumps(result).encode())


_COMPILED: dict[str, str] = {}


def compile_once(recipe: Recipe, profile: Profile, *args: Any, **options: Any) -> str:
    """Compile a pipeline, once for equal input: nothing in it depends on where Kubeflow is."""
    place = profile.model_copy(update={"store": "s3://b/s", "kubeflow": Kubeflow()})
    key = repr((recipe, place, args, options))
    if key not in _COMPILED:
        with ThreadPoolExecutor(1) as pool:  # KFP reads the whole stack, and pytest's is deep
            _COMPILED[key] = pool.submit(compile_loop, recipe, place, *args, **options).result()
    return _COMPILED[key].replace("s3://b/s", profile.store)
