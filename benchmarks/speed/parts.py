"""The classes that ``python -m benchmarks`` runs as well."""

from __future__ import annotations

from _speed_annotate import Annotate as Annotate
from _speed_embed import Embed as Embed
from _speed_embed import EmbedMean as EmbedMean
from _speed_growth import EmbedByCells as EmbedByCells
from _speed_growth import EmbedByColumns as EmbedByColumns
from _speed_growth import EmbedByTokens as EmbedByTokens
from _speed_growth import TokenizeByCells as TokenizeByCells
from _speed_growth import TokenizeByColumns as TokenizeByColumns
from _speed_growth import TokenizeByTokens as TokenizeByTokens
from _speed_perturb import Perturb as Perturb
from _speed_pretrain import Pretrain as Pretrain
from _speed_tokenize import Tokenize as Tokenize
