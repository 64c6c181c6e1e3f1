"""What differs between the paper's data sets, known by the beginning of their names, however they are spelled."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """What is set for one data set.

    Attributes:
        temperature: of stage 1's masking.
        decoder_depth: in the released code.
        layer_decay: in the released code.
        learning_rate: of stage 2 in the released code.
        linear_rate: of the linear probe in the released code.
        linear_batch_size: the same.
        horizon: epoch of stage 1 whose checkpoint the released code goes on with; None is the last.
    """

    temperature: float
    decoder_depth: int
    layer_decay: float
    learning_rate: float
    linear_rate: float = 0.1
    linear_batch_size: int = 256
    horizon: int | None = None


_NTU60 = DataSet(temperature=0.8, decoder_depth=3, layer_decay=0.45, learning_rate=1e-3)
_NTU120 = DataSet(temperature=0.75, decoder_depth=5, layer_decay=0.4, learning_rate=1e-3)
_PKU = DataSet(temperature=0.8, decoder_depth=5, layer_decay=0.35, learning_rate=1e-4, horizon=300)
_PKU2 = replace(_PKU, linear_rate=0.01, linear_batch_size=32)
# By the beginning of their names, letters and digits alone: as `prepare` gives them, and as the published files do.
_DATA_SETS = {
    **dict.fromkeys(("ntu120", "nturgbd120", "nturgb120"), _NTU120),
    **dict.fromkeys(("ntu60", "nturgbd60", "nturgb60"), _NTU60),
    **dict.fromkeys(("pku2", "pkuv2", "pkuii", "pkummd2", "pkummdv2", "pkummdii"), _PKU2),
    "pku": _PKU,
}


def settings_of(name: str) -> DataSet:
    """Those of the data set of this name; one that the paper does not know is treated as NTU-60."""
    spelled = "".join(character for character in name.lower() if character.isalnum())
    return next((found for start, found in _DATA_SETS.items() if spelled.startswith(start)), _NTU60)
