"""Every sweep at once: `python -m sweeps all --plan` plans them together, without `--plan` one runs after another."""

import importlib
from pathlib import Path

from cluster.several import main

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))

if __name__ == "__main__":
    main([importlib.import_module(f"sweeps.{name}").SWEEP for name in NAMES])
