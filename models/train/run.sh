#!/bin/sh
# Builds everything under models/. Needs Python 3.11 with requirements.txt; PYTHON names another interpreter.
#   run.sh [CONFIG.json] [--from=STAGE] [--until=STAGE] [--list]
#   run.sh --test        the unit tests of the data side; NumPy and pyarrow are enough
#   run.sh --test-all    those of the networks and of Globo too; need all of requirements.txt
set -eu
case "${1:-}" in
*.json)
  TRAINING_CONFIG="$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"
  export TRAINING_CONFIG
  shift
  ;;
esac
cd "$(dirname "$0")"
export OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
discover() { "${PYTHON:-python3}" -m unittest discover --start-directory "$1" --top-level-directory .; }
case "${1:-}" in
--test) discover tests && exit ;;
--test-all) discover tests && discover torch_tests && exit ;;
esac
exec nice -n 10 "${PYTHON:-python3}" build.py "$@"
