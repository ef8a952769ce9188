"""Turns a step's function into a KFP component."""

from __future__ import annotations

from functools import partial

from kfp import dsl

image_component = partial(
    dsl.component, base_image="python:3.11", packages_to_install=[], install_kfp_package=False
)
"""Decorator for a component whose code is in its image.

`base_image` is a placeholder: a local run uses this interpreter, and on a cluster placement sets
the profile's image. Nothing is installed when a task starts, which takes 0.2 s instead of 1.5.
Modules that use it must not have `from __future__ import annotations`: KFP needs the types.
"""
