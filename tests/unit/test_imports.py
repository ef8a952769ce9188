"""Who imports whom, and where: what the contracts of `make lint` cannot say."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]

HEAVY = {
    "accelerate", "boto3", "datasets", "datasketch", "deepspeed", "kfp", "kubeflow", "kubernetes",
    "lingua", "lm_eval", "mlflow", "openai", "peft", "pyarrow", "torch", "transformers", "vllm",
}  # fmt: skip
PARTS = {
    "botocore", "google", "huggingface_hub", "kfp_server_api", "safetensors", "sqlalchemy",
    "tokenizers",
}  # fmt: skip
"""Libraries that come with a heavy one, and are as heavy."""

FILES = [
    path for folder in ("components", "pipelines") for path in sorted((ROOT / folder).rglob("*.py"))
]


def imported(node: ast.stmt) -> list[str]:
    """Return the modules that a statement may import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")
    return path if module.startswith("lidr.") and path.is_file() else None


def is_heavy(module: str) -> bool:
    """Tell whether a module is a heavy library, or one of ours that imports such at its top."""
    if module.split(".")[0] in HEAVY | PARTS:
        return True
    file = file_of(module)
    names = (
        [name for node in ast.parse(file.read_text()).body for name in imported(node)]
        if file
        else []
    )
    return any(name.split(".")[0] in HEAVY | PARTS for name in names)


def inside_functions(path: Path) -> Iterator[ast.stmt]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (
                each for each in ast.walk(node) if isinstance(each, ast.Import | ast.ImportFrom)
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_import_only_what_is_heavy_and_faces_their_own_step(path: Path):
    package = "lidr." + ".".join(path.relative_to(ROOT).parent.parts)
    wrong = [
        ast.unparse(node)
        for node in inside_functions(path)
        if not any(map(is_heavy, imported(node)))
        and not (path.name == "component.py" and imported(node)[0].startswith(package))
    ]
    assert wrong == []


def test_no_import_circles():
    graph = grimp.build_graph("lidr", exclude_type_checking_imports=True, cache_dir=None)
    left = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while leaves := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in leaves:
            del left[module]
    assert left == {}


def test_the_one_import_name_is_lidr():
    wrong = [
        f"{path}: {ast.unparse(node)}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and imported(node)
        and imported(node)[0].split(".")[0] in ("components", "pipelines")
    ]
    assert wrong == []


def test_every_package_says_what_lives_in_it():
    packages = [path for path in FILES if path.name == "__init__.py"]
    assert [path for path in packages if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_no_two_classes_have_one_name():
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
