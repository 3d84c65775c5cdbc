"""Numbers that networks give: what is none is refused where it arises, with the picture that it arose at."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from intact_fast.errors import UserError


def require_numbers(computed: Tensor, pictures: Sequence[object], what: str = "feature") -> Tensor:
    """Give what was computed of each picture, if all of it is numbers.

    Args:
        computed: N×…, of any device.
        pictures: Names of the N.
        what: What was computed.

    Raises:
        UserError: It holds NaN or infinity; the line names the first such picture.
    """
    is_good = computed.isfinite().flatten(1).all(dim=1).tolist()
    if all(is_good):
        return computed
    raise UserError(
        f"{pictures[is_good.index(False)]}: its {what} is not a number ({is_good.count(False):,} of {len(is_good):,} "
        "pictures of the batch): the model's training has diverged, or its precision is too narrow; use another model, "
        "or --precision fp32"
    )
