"""An ablation analysed with pandas: which value is best, by how much, and what is missing.

python examples/analyse.py ~/.stars/store lr_decay
"""

import sys

from analysis.load import load

store, sweep = sys.argv[1:]
frame = load(store, sweep)  # one line a number, with its axes, seeds, state and provenance
grid = frame[frame["reference"] == ""]
axis = next(name for name in grid.columns[3:] if name != "seed" and grid[name].nunique() > 1)

# Missing points stand in the frame with value NaN: they are counted here, never averaged away.
print(grid.groupby([axis, "state"])["fingerprint"].nunique().unstack(fill_value=0))

numbers = grid[(grid["metric"] == "accuracy") & (grid["split"] == "test") & grid["k"].isin([10])]
by_seed = 100 * numbers.pivot_table(index="seed", columns=axis, values="value")
print(by_seed.agg(["mean", "std", "count"]).T.round(1))

best = by_seed.mean().idxmax()
print(f"best: {axis}={best}; paired differences to it, in points:")
print(by_seed.sub(by_seed[best], axis=0).round(1))
