"""What others have published: the cells of the paper's Tables 1 to 7, 9 and 11, one number a row, with its source."""

from importlib import resources

import pandas as pd

_FILE = "published.csv"


def cells() -> pd.DataFrame:
    """Every published number, in the order of the tables.

    Columns: `table`; `group`, `method`, `stream` (single: joints; three: joints, bones and motion) and `backbone`,
    empty where the table has none; `dataset`, `protocol` and `metric`, as printed; `value`, in per cent; `mark`, `*`
    where the paper's authors reproduced another's number; `source`; `note`, what should be known about it, such as a
    damaged text.

    The STARS paper and the README of MAMP's code report different numbers for the same method, so a cell may have two
    rows, which their `source` tells apart.
    """
    with resources.files("analysis").joinpath(_FILE).open(encoding="utf-8") as stream:
        return pd.read_csv(stream, dtype={"value": "float64", "table": "int64"}, keep_default_na=False)
