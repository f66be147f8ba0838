"""The parts of the speed suite by name."""

from __future__ import annotations

from _speed_annotate import Annotate
from _speed_embed import Embed, EmbedMean
from _speed_growth import GROWTH
from _speed_perturb import Perturb
from _speed_pretrain import Pretrain
from _speed_tokenize import Tokenize

KINDS = {
    "tokenize": (Tokenize,),
    "embed": (Embed, EmbedMean),
    "annotate": (Annotate,),
    "perturb": (Perturb,),
    "pretrain": (Pretrain,),
    "growth": GROWTH,
}
