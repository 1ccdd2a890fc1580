#!/bin/sh
# Locks what the container image is built from: every package by version and hash, for the Python that it runs on.
# `make lock` does this. Give it --upgrade to take newer releases.
set -eu
cd "$(dirname "$0")/.."
lock() {
    ${PYTHON:-.venv/bin/python} -m uv pip compile --quiet --universal --python-version 3.13 --generate-hashes \
        --no-emit-index-url --no-annotate --custom-compile-command "make lock" "$@"
}
lock pyproject.toml --output-file deploy/container/requirements.txt "$@"
lock deploy/container/build-requirements.in --output-file deploy/container/build-requirements.txt "$@"
