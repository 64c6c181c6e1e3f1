"""A preparation that a test kills: says when it starts, and then works slowly enough to be hit.

python -m tests.data.prepare_killed RAW OUT PROCESSES
"""

import sys
import time
from pathlib import Path

from stars.data import prepare
from stars.data.prepare import prepare_folder

CHUNK = 3


def main() -> None:
    raw, out, num_processes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    prepare._CHUNK = CHUNK
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    prepare_folder(raw, out, num_processes=num_processes, progress=lambda done, total: time.sleep(0.01))


if __name__ == "__main__":
    main()
