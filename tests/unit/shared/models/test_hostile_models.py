"""Models that are more than weights and settings are refused; those of real families are not."""

from __future__ import annotations

import io
import json
import pickle
import signal
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.models.admission import check_adapter, check_model
from lidr.components.shared.models.chat_templates import check_chat_template
from lidr.components.shared.models.sources import ModelFiles, model_files
from lidr.components.shared.models.template_probe import CPU_SECONDS, environment
from tests.fakes import finished_stage
from tests.models import CHAT_TEMPLATE, safetensors

SAY = "{% for m in messages %}{{ m.content }}{% endfor %}"
"""Renders the messages, so that only what stands beside it can be refused."""

TEMPLATES = {
    "class walk": ("{{ ''.__class__.__mro__ }}", "Python's own attributes"),
    "class walk by subscript": ("{{ ''['__class__'] }}", "Python's own attributes"),
    "globals of a function": ("{{ raise_exception.__globals__ }}", "Python's own attributes"),
    "globals of a macro": ("{% macro m() %}{% endmacro %}{{ m._func }}", "own attributes"),
    "of the environment": ("{{ self._TemplateReference__context }}", "own attributes"),
    "attr filter": ("{{ ''|attr('__class__') }}", r"\|attr"),
    "attr filter, plain name": ("{{ ''|attr('upper') }}", r"\|attr"),
    "attr by map": ("{{ ['']|map('attr', '__class__')|list }}", r"\|attr"),
    "attribute by map": ("{{ ['']|map(attribute='__class__')|list }}", "own attributes"),
    "attribute by path": ("{{ ['']|map(attribute='a.__class__')|list }}", "own attributes"),
    "attribute by groupby": ("{{ ['']|groupby('__class__') }}", "own attributes"),
    "attribute by sort": ("{{ ['']|sort(attribute='__class__') }}", "own attributes"),
    "name in two parts": ("{{ ''['__cla' ~ 'ss__'] }}", "names of attributes together"),
    "name by adding": ("{{ ''['__cla' + 'ss__'] }}", "names of attributes together"),
    "name by joining": ("{{ ''[['__', 'class', '__']|join] }}", "names of attributes together"),
    "name by replacing": ("{{ ''['..class..'|replace('.', '_')] }}", "attributes together"),
    "name in a variable": ("{% set n = 'xx' %}{{ ''[n|replace('x', '_')] }}", "together"),
    "name by a method": ("{{ ''['..class..'.replace('.', '_')] }}", "attributes together"),
    "name by a method that joins": ("{{ ''['_'.join(['', '', 'class'])] }}", "together"),
    "name by a format": ("{{ ''['%s__' % '__class'] }}", "attributes together"),
    "name by slicing": ("{{ ''['x__class__'[1:]] }}", "attributes together"),
    "name by reversing": ("{{ ''['__ssalc__'|reverse] }}", "attributes together"),
    "name by a slice that reverses": ("{{ ''['__ssalc__'[::-1]] }}", "attributes together"),
    "name by cutting": ("{{ ''['x__class__'.strip('x')] }}", "attributes together"),
    "name in a list": ("{{ ''[['__class__'][0]] }}", "attributes together"),
    "name in a dictionary": ("{{ ''[{'a': '__class__'}['a']] }}", "attributes together"),
    "name by a default": ("{{ ''[{}.get('__class__', '__class__')] }}", "attributes together"),
    "name by an alternative": ("{{ ''[false or '__class__'] }}", "attributes together"),
    "name by a choice": ("{{ ''['x' if false else '__class__'] }}", "own attributes"),
    "name by a choice in a list": ("{{ ''[['x' if false else '__class__'][0]] }}", "together"),
    "format by a choice": ("{{ ''['format' if true else 'x'] }}", r"\.format"),
    "name that only runs": (
        "{% set u = '_' %}{% set n = u + u + 'class' + u + u %}{{ ''[n].mro() }}",
        "leave its sandbox|classes",
    ),
    "hidden name, hidden walk": (
        "{% set u = '_' %}{% set n = u + u + 'class' + u + u %}{{ ''[n][n] }}",
        "leave its sandbox",
    ),
    "format escape": ("{{ '{0.__class__}'.format(1) }}", r"\.format"),
    "format_map escape": ("{{ '{a}'.format_map({}) }}", r"\.format_map"),
    "format filter": ("{{ '%99999999d'|format(1) }}", r"\|format"),
    "format by percent": ("{{ '%99999999d' % 1 }}", "fills formats"),
    "classes": ("{{ dict.mro() }}", r"\.mro"),
    "include": ("{% include '/etc/passwd' %}", "other templates"),
    "import": ("{% import 'x' as x %}", "other templates"),
    "from import": ("{% from 'x' import y %}", "other templates"),
    "extends": ("{% extends 'x' %}", "other templates"),
    "long range": ("{% for i in range(10**9) %}{% endfor %}", "power|counts"),
    "long range written out": ("{% for i in range(1000000000) %}{% endfor %}", "counts above"),
    "loops in loops": (
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "does not render",
    ),
    "endless macro": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "cannot render"),
    "doubling": (
        "{% set n = namespace(x='xx') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}"
        "{% endfor %}{{ n.x|length }}",
        "more memory|does not render",
    ),
    "two that grow each other": (
        "{% set n = namespace(a='x', b='x') %}{% for i in range(90) %}{% set n.a = n.a ~ n.b %}"
        "{% set n.b = n.b ~ n.a %}{% endfor %}{{ n.a|length }}",
        "more memory|does not render",
    ),
    "huge output": (
        "{% for a in range(9999) %}{{ 'a' }}{{ messages[0].content }}{% endfor %}",
        "writes more than",
    ),
    "repeated text": ("{{ 'a' * 99999 }}", "repeats text"),
    "padded text": ("{{ 'a'.center(999999999) }}", "counts above"),
    "power": ("{{ 9 ** 9 ** 9 }}", "power"),
    "power that is computed when it is compiled": ("{{ 9 ** (9 ** 9) }}", "power"),
    "text that is computed when it is compiled": ("{{ ('a' * 99999) * 99999 }}", "repeats text"),
    "text that grows when it is compiled": (
        "{{ 'a'|center(99999)|replace(' ', 'b'|center(99999)) }}",
        "more memory|does not render",
    ),
    "python that is none": ("{{ namespace(a=1, a=2) }}", "not valid"),
    "loops too deep for python": (
        "{% for x in [1] %}" * 21 + "{% endfor %}" * 21,
        "not valid",
    ),
    "huge number": ("{% set x = " + "1" * 400 + " %}", "counts above"),
    "number that is not read": ("{% set x = " + "1" * 5000 + " %}", "not valid"),
    "made-up text": ("{{ lipsum(9) }}", "lipsum"),
    "chance": ("{{ [1, 2]|random }}", r"\|random"),
    "changes its input": ("{{ messages.append(1) }}", "leave its sandbox"),
    "no syntax": ("{% for %}", "not valid"),
    "unknown filter": ("{{ 1|system }}", "not valid"),
    "unknown tag": ("{% python %}", "not valid"),
    "expensive text": ("{{ 'a' }}" * 40_000, "longer than"),
    "drops the question": ("{% set messages = [] %}", "leaves a question out"),
    "writes it twice": ("{{ messages[0].content }}", "more than once"),
    "raises": ("{{ raise_exception('no') }}", "cannot render a question: TemplateError: no"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_that_does_more_than_render_is_refused(name: str, tmp_path: Path):
    text, words = TEMPLATES[name]
    file = tmp_path / "chat_template.jinja"
    with pytest.raises(BadInput, match=words) as caught:
        check_chat_template(text + SAY, file)
    assert caught.value.file == str(file)
    assert "remedy" not in caught.value.message and caught.value.remedy


HARMLESS = (
    "names[message['tool_call_id']]",
    "args[key.split('_')[0]]",
    "args[key.split('_') | first]",
    "args[key | replace('_', '-')]",
    "names[message.get('tool_call_id')]",
    "m['content' if 'content' in m else 'reasoning_content']",
    "m['a' if m.kind_of == 'a_b' else 'c']",
    "messages[0 if first_is == 'a_b' else 1]",
)


def test_keys_that_only_select_pass(tmp_path: Path):
    reading = "".join(f"{{{{ {expression} }}}}" for expression in HARMLESS)
    template = f"{{% if false %}}{reading}{{% endif %}}{SAY}"
    check_chat_template(template, tmp_path / "t")


def test_a_template_is_tried_with_the_recipe_s_arguments(tmp_path: Path):
    template = "{% if not tone %}{{ raise_exception('no tone') }}{% endif %}" + SAY
    with pytest.raises(BadInput, match="cannot render a question: TemplateError: no tone"):
        check_chat_template(template, tmp_path / "t")
    check_chat_template(template, tmp_path / "t", {"tone": "calm"})


@pytest.fixture
def broken_jinja2(tmp_path: Path) -> Path:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "jinja2.py").write_text("raise ImportError('the broken one')")
    return folder


def test_the_probe_finds_the_modules_that_lidr_finds(tmp_path, broken_jinja2, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(broken_jinja2), *sys.path])
    with pytest.raises(
        LidrError, match="cannot be tried here: ImportError: the broken one"
    ) as raised:
        check_chat_template(SAY + "{# path #}", tmp_path / "t")
    assert type(raised.value) is LidrError
    assert raised.value.remedy.startswith("Repair the Python environment of")


def test_the_probe_imports_nothing_from_the_current_folder(tmp_path, broken_jinja2, monkeypatch):
    monkeypatch.chdir(broken_jinja2)
    monkeypatch.setenv("PYTHONPATH", str(broken_jinja2))
    monkeypatch.setattr(sys, "path", ["", str(broken_jinja2), *sys.path])
    check_chat_template(SAY + "{# here #}", tmp_path / "t")


def test_the_probe_finds_the_libraries_that_python_needs(tmp_path, monkeypatch):
    asked = {}

    def run(*_: object, env: dict[str, str], **__: object) -> subprocess.CompletedProcess[bytes]:
        asked.update(env)
        return subprocess.CompletedProcess([], 1, b"", b"")

    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/python/lib")
    monkeypatch.setenv("TOKEN_OF_MINE", "x")
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(LidrError):
        check_chat_template(SAY + "{# libraries #}", tmp_path / "t")
    assert asked == {"LD_LIBRARY_PATH": "/opt/python/lib"}


@pytest.mark.parametrize(
    ("ended", "kind", "words"),
    [
        (signal.SIGXCPU, BadInput, "does not render a conversation in 2 s"),
        (signal.SIGSEGV, BadInput, "crashes Python"),
        (signal.SIGKILL, LidrError, r"could not be tried: signal 9 \(Killed\)"),
        (signal.SIGTERM, LidrError, "could not be tried: signal 15"),
    ],
)
def test_only_what_a_template_did_is_its_fault(tmp_path, monkeypatch, ended, kind, words):
    done = subprocess.CompletedProcess([], -ended, b"", b"")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(LidrError, match=words) as raised:
        check_chat_template(f"{SAY}{{# {ended} #}}", tmp_path / "t")
    assert type(raised.value) is kind
    assert raised.value.remedy


def test_a_busy_machine_is_no_fault_of_the_template(tmp_path, monkeypatch):
    def run(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired([], 180)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(LidrError, match="within 180 s") as raised:
        check_chat_template(SAY + "{# busy #}", tmp_path / "t")
    assert type(raised.value) is LidrError


def test_the_line_in_the_template_is_told(tmp_path: Path):
    with pytest.raises(BadInput, match="line 3 of the template"):
        check_chat_template(SAY + "\n\n{{ ''.__class__ }}", tmp_path / "t")


def installed(package: str, folder: str) -> list[Path]:
    found = find_spec(package)
    if not found or not found.submodule_search_locations:
        return []
    return sorted(Path(found.submodule_search_locations[0], folder).glob("*.jinja"))


FAMILIES = ("llama3", "qwen2_5", "qwen3", "gemma3", "phi3_5", "deepseek_r1", "gptoss", "cohere2")
IMAGES = ("idefics3", "llava_next", "smolvlm", "template_kimi_audio")
"""Templates that want a message's content as a list of parts; lidr's messages are text."""

REAL = [
    path
    for path in installed("trl", "chat_templates")
    if path.stem in (*IMAGES, *FAMILIES) or path.stem.startswith(FAMILIES)
]


@pytest.mark.parametrize("path", [p for p in REAL if p.stem not in IMAGES], ids=lambda p: p.stem)
def test_templates_of_real_families_pass(path: Path):
    check_chat_template(path.read_text("utf-8"), path)


@pytest.mark.skipif(not REAL, reason="trl, which brings templates of real models, is not here")
def test_enough_real_families_are_tried():
    tried = {family for family in FAMILIES for path in REAL if path.stem.startswith(family)}
    assert len(tried) >= 5


@pytest.mark.parametrize("path", [p for p in REAL if p.stem in IMAGES], ids=lambda p: p.stem)
def test_a_template_that_would_drop_our_text_is_refused(path: Path):
    with pytest.raises(BadInput, match="leaves a question out"):
        check_chat_template(path.read_text("utf-8"), path)


def test_the_probe_renders_as_transformers_does():
    utilities = pytest.importorskip("transformers.utils.chat_template_utils")
    theirs = utilities._compile_jinja_template(SAY).environment
    ours = environment()
    assert type(theirs).__mro__[0] is type(ours).__mro__[0]
    assert ours.sandboxed
    assert (theirs.trim_blocks, theirs.lstrip_blocks) == (ours.trim_blocks, ours.lstrip_blocks)
    assert set(theirs.globals) == set(ours.globals)
    assert set(theirs.filters) == set(ours.filters)
    for options in ("", "true", "false, 4", "indent=2", "sort_keys=true", "ensure_ascii=true"):
        text = "{{ {'b': 'é', 'a': [1]} | tojson(OPTIONS) }}".replace("OPTIONS", options)
        written = [made.from_string(text).render() for made in (ours, theirs)]
        assert written[0] == written[1], options


def test_vllm_renders_in_the_sandbox_too():
    """Its server hands the chat to transformers; it must not compile a template by itself."""
    if not (found := find_spec("vllm")):
        pytest.skip("vllm is not installed")
    root = Path(found.submodule_search_locations[0])
    rendering = [root / "renderers", root / "entrypoints", root / "tokenizers"]
    sources = [path for folder in rendering for path in folder.rglob("*.py")]
    assert len(sources) > 50
    for path in sources:
        text = path.read_text("utf-8")
        assert "from_string(" not in text or "Sandboxed" in text, path


EVIL = "import pathlib; pathlib.Path({!r}).write_text('run')"


class Evil:
    """What runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return exec, (EVIL.format(str(self.mark)),)


def pickled(folder: Path) -> bytes:
    return pickle.dumps(Evil(folder / "was-run"))


def zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(folder))
    return buffer.getvalue()


def header(**tensors: object) -> bytes:
    data = json.dumps(tensors).encode()
    return len(data).to_bytes(8, "little") + data


def tensor(start: int, end: int) -> dict[str, object]:
    return {"dtype": "U8", "shape": [end - start], "data_offsets": [start, end]}


DISGUISED = {
    "pickle": (pickled, "a pickle"),
    "zip of a pickle": (zipped, "a zip archive"),
    "old pickle": (lambda folder: pickle.dumps({}, protocol=0), "no header"),
    "pickle behind safetensors": (lambda f: safetensors() + pickled(f), "or are cut off"),
    "gzip": (lambda folder: b"\x1f\x8b\x08" + bytes(99), "a gzip"),
    "NumPy": (lambda folder: b"\x93NUMPY" + bytes(99), "NumPy"),
    "GGUF": (lambda folder: b"GGUF" + bytes(99), "GGUF"),
    "script": (lambda folder: b"#!/bin/sh\nrm -rf /\n", "a script"),
    "pointer": (lambda f: b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "empty": (lambda folder: b"", "no header"),
    "cut": (lambda folder: safetensors()[:-1], "or are cut off"),
    "endless header": (lambda folder: b"\xff" * 64, "no header"),
    "header that is no JSON": (lambda folder: (4).to_bytes(8, "little") + b"{{{{", "broken"),
    "header that is a list": (lambda folder: (2).to_bytes(8, "little") + b"[]", "broken"),
    "no offsets": (lambda folder: header(w={"dtype": "U8"}), "broken"),
    "shape that is no number": (
        lambda folder: header(w={"dtype": "U8", "shape": ["a"], "data_offsets": [0, 0]}),
        "broken",
    ),
    "gap": (lambda folder: header(a=tensor(0, 1), b=tensor(2, 3)) + bytes(3), "gaps"),
    "overlap": (lambda folder: header(a=tensor(0, 2), b=tensor(1, 3)) + bytes(3), "overlap"),
    "backwards": (lambda folder: header(a=tensor(0, 2) | {"data_offsets": [2, 0]}), "gaps|overlap"),
    "deep header": (
        lambda folder: (90_000).to_bytes(8, "little") + b'{"a":' * 18_000,
        "broken",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "llama"}')
    (path / "tokenizer.json").write_text("{}")
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHAT_TEMPLATE}))
    (path / "model.safetensors").write_bytes(safetensors())
    return path


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "adapter"
    path.mkdir()
    (path / "adapter_config.json").write_text('{"r": 8}')
    (path / "adapter_model.safetensors").write_bytes(safetensors())
    return path


def test_what_is_safe_is_taken(folder: Path, adapter: Path):
    check_model(folder)
    check_adapter(adapter)


@pytest.mark.parametrize("name", DISGUISED)
def test_weights_that_are_something_else_are_refused(folder: Path, adapter: Path, name: str):
    make, words = DISGUISED[name]
    for place, check in ((folder, check_model), (adapter, check_adapter)):
        next(place.glob("*.safetensors")).write_bytes(make(place))
        with pytest.raises(BadInput, match=f"not safetensors: .*(?:{words})"):
            check(place)
        assert not (place / "was-run").exists()


BESIDE = {
    "pytorch_model.bin": "may be a pickle",
    "training_args.bin": "may be a pickle",
    "optimizer.pt": "may be a pickle",
    "data.pkl": "may be a pickle",
    "last.ckpt": "may be a pickle",
    "consolidated.00.pth": "may be a pickle",
    "tokens.pickle": "may be a pickle",
    "scaler.joblib": "may be a pickle",
    "embeddings.npy": "may be a pickle",
    "modeling_mine.py": "code that comes with the model",
    "tokenization_mine.py": "code that comes with the model",
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_lies_beside_safetensors_is_refused_too(folder: Path, adapter: Path, name: str):
    for place, check in ((folder, check_model), (adapter, check_adapter)):
        (place / name).write_bytes(pickled(place))
        with pytest.raises(BadInput, match=words_of(name)):
            check(place)


def words_of(name: str) -> str:
    return f"{name} (?:may be a pickle|is code)".replace(".", r"\.")


SETTINGS = {
    "auto_map of the model": ("config.json", {"auto_map": {"AutoModel": "m.M"}}),
    "auto_map elsewhere": ("config.json", {"auto_map": {"AutoModel": "org/repo--m.M"}}),
    "auto_map of the tokenizer": ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["t"]}}),
    "auto_map of a part": ("config.json", {"text_config": {"auto_map": {"AutoConfig": "c.C"}}}),
    "auto_map in a list": ("config.json", {"parts": [{"auto_map": {"AutoConfig": "c.C"}}]}),
    "auto_map of the processor": ("processor_config.json", {"auto_map": {"AutoProcessor": "p.P"}}),
    "custom pipeline": ("config.json", {"custom_pipelines": {"x": {"impl": "p.P"}}}),
    "custom generate": ("generation_config.json", {"custom_generate": "org/repo"}),
    "attention from the hub": ("config.json", {"attn_implementation": "org/kernel"}),
    "the same, hidden": ("config.json", {"_attn_implementation_internal": "org/kernel"}),
    "experts from the hub": ("config.json", {"_experts_implementation": "org/kernel@v1"}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_ask_for_code_are_refused(folder: Path, name: str):
    file, added = SETTINGS[name]
    path = folder / file
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | added))
    with pytest.raises(BadInput, match=r"trust_remote_code.*lidr runs none") as caught:
        check_model(folder)
    assert caught.value.file == str(path)


INDEXES = {
    "parent": {"w": "../other/model.safetensors"},
    "absolute": {"w": "/etc/passwd"},
    "pickle": {"w": "pytorch_model.bin"},
    "absent": {"w": "model-00002-of-00002.safetensors"},
    "number": {"w": 7},
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_names_files_of_its_folder_only(folder: Path, name: str):
    index = {"metadata": {}, "weight_map": INDEXES[name]}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match="no safetensors file of the folder"):
        check_model(folder)


@pytest.mark.parametrize(
    "data", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": {}}}']
)
def test_a_broken_index_is_refused(folder: Path, data: str):
    (folder / "model.safetensors.index.json").write_text(data)
    with pytest.raises(BadInput):
        check_model(folder)


WHOLE = ("model.safetensors",)
NO_PARTS = {
    "a part of four": ("model-00001-of-00004.safetensors",),
    "another format": ("consolidated.safetensors",),
    "an adapter": ("adapter_model.safetensors",),
    "a checkpoint below": ("checkpoint-500/model.safetensors",),
}


@pytest.mark.parametrize("name", NO_PARTS)
def test_weights_that_nothing_names_are_refused_before_they_are_fetched(folder: Path, name: str):
    (folder / "model.safetensors").unlink()
    check_model(folder, WHOLE)
    with pytest.raises(BadInput, match=r"no model\.safetensors, and no .*index\.json") as caught:
        check_model(folder, NO_PARTS[name])
    assert caught.value.remedy == "Fetch the model's files again."
    if "/" not in NO_PARTS[name][0]:
        (folder / NO_PARTS[name][0]).write_bytes(safetensors())
        with pytest.raises(BadInput, match=r"no model\.safetensors, and no .*index\.json"):
            check_model(folder)


def test_parts_that_an_index_names_are_all_there_before_they_are_fetched(folder: Path):
    (folder / "model.safetensors").unlink()
    parts = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = {"weight_map": dict(zip("ab", parts, strict=True))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    check_model(folder, parts)
    with pytest.raises(BadInput, match="names 'model-00002-of-00002"):
        check_model(folder, parts[:1])


def test_an_index_from_the_hub_that_is_nested_deeply_is_refused(folder: Path):
    (folder / "model.safetensors.index.json").write_text("[" * 100_000)
    with pytest.raises(BadInput, match="not an index of weights"):
        check_model(folder, WHOLE)


EVIL_TEMPLATE = SAY + "{{ ''.__class__ }}"

TEMPLATE_PLACES = {
    "tokenizer": ("tokenizer_config.json", json.dumps({"chat_template": EVIL_TEMPLATE})),
    "one of several": (
        "tokenizer_config.json",
        json.dumps(
            {
                "chat_template": [
                    {"name": "default", "template": CHAT_TEMPLATE},
                    {"name": "tool_use", "template": EVIL_TEMPLATE},
                ]
            }
        ),
    ),
    "by name": ("tokenizer_config.json", json.dumps({"chat_template": {"rag": EVIL_TEMPLATE}})),
    "file": ("chat_template.jinja", EVIL_TEMPLATE),
    "file of another name": ("additional_chat_templates/rag.jinja", EVIL_TEMPLATE),
    "processor": ("chat_template.json", json.dumps({"chat_template": EVIL_TEMPLATE})),
}


@pytest.mark.parametrize("name", TEMPLATE_PLACES)
def test_a_template_is_checked_wherever_it_stands(folder: Path, name: str):
    file, text = TEMPLATE_PLACES[name]
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(text)
    with pytest.raises(BadInput, match="own attributes") as caught:
        check_model(folder)
    assert caught.value.file == str(folder / file)


def test_a_model_that_was_changed_after_it_was_brought_in_is_not_loaded(tmp_path, folder: Path):
    described = json.dumps({"source": str(folder), "digest": "abc"}).encode()
    stage = finished_stage(str(tmp_path / "s"), "prepare", {"model.json": described})
    assert model_files(stage.uri) == ModelFiles(folder, None, stage.digest)
    (folder / "model.safetensors").write_bytes(pickled(folder))
    with pytest.raises(BadInput, match="not safetensors: a pickle"):
        model_files(stage.uri)
    (folder / "chat_template.jinja").write_text(EVIL_TEMPLATE)
    with pytest.raises(BadInput, match="own attributes"):
        model_files(stage.uri, weights=False)


def test_a_slow_start_is_not_the_template_s_fault():
    probe = Path(sys.modules["lidr.components.shared.models.template_probe"].__file__)
    slowly = f"import runpy, time\nwhile time.process_time() < {CPU_SECONDS}.1: pass\n"
    asked = json.dumps({"template": "hello", "conversations": [[]], "arguments": {}})
    done = subprocess.run(
        [sys.executable, "-c", f"{slowly}runpy.run_path({str(probe)!r}, run_name='__main__')"],
        input=asked,
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, json.loads(done.stdout)) == (0, [{"text": "hello"}])


def test_a_template_that_hangs_is_stopped(tmp_path: Path):
    """The processor time of the probe is bounded by the kernel, whatever jinja2 does."""
    probe = Path(sys.modules["lidr.components.shared.models.template_probe"].__file__)
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    asked = json.dumps({"template": loops, "conversations": [[]], "arguments": {}})
    done = subprocess.run(
        [sys.executable, "-I", str(probe)], input=asked, text=True, capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGXCPU
    assert CPU_SECONDS <= 2
