#!/bin/sh
# Builds everything under models/. Needs Python 3.11 with requirements.txt; PYTHON names another interpreter.
set -eu
cd "$(dirname "$0")"
export OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
exec nice -n 10 "${PYTHON:-python3}" build.py
