"""LUSIFER: universal encoder, connector, bidirectional language model, pooling, output projection.

Token ids go in, one vector per text comes out (arXiv 2501.00874). From top to bottom: the parts in the order
in which a text passes them, then the whole model. Training is built of the same parts.

    ids (batch, length)
     -> UniversalEncoder   XLM-RoBERTa, or a bare token table      (batch, length, inner)
     -> Connector          inner to outer width, adds tokens       (batch, longer, outer)
     -> LanguageModel      Mistral without its causal mask, BERT,  (batch, longer, outer)
                           or nothing
     -> pool               over the positions that count           (batch, outer)
     -> projection         Linear-ReLU-Linear, or nothing          (batch, outer)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, MistralConfig, MistralModel, XLMRobertaConfig, XLMRobertaModel

from lusifer.config import ConnectorConfig, EncoderConfig, LanguageModelConfig, ModelConfig, Pooling
from lusifer.errors import ConfigError

#: Where the connector's added tokens go: after each text, or after the padding of the batch.
Placement = Literal["text", "batch"]
#: Epsilon of the final RMSNorm of a language model of zero layers.
_EPSILON = 1e-5


def pad(rows: list[list[int]], pad_id: int, multiple: int = 8) -> tuple[Tensor, Tensor]:
    """Fill rows of token ids up on the right to the longest, rounded up to a multiple.

    Returns:
        Ids and attention mask, both int64 ``(len(rows), length)``.
    """
    longest = max(map(len, rows))
    length = -(-longest // multiple) * multiple
    ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[index, : len(row)] = 1
    return ids, mask


class UniversalEncoder(nn.Module):
    """Token ids ``(batch, length)`` to vectors ``(batch, length, dimensions)``.

    The vectors are the last layer's hidden states; XLM-RoBERTa normalises after each layer, so nothing
    follows. Its pooler, which LUSIFER never reads, is not built.

    Attributes:
        pad_id: token id that fills up shorter texts.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.table: nn.Embedding | None = None
        self.transformer: XLMRobertaModel | None = None
        if config.kind == "token_table":
            self.table = nn.Embedding(config.vocabulary, config.dimensions)
            self.pad_id = 0
        else:
            settings = XLMRobertaConfig(**config.transformer)
            self.transformer = XLMRobertaModel(settings, add_pooling_layer=False)
            self.pad_id = settings.pad_token_id or 0

    def restore_buffers(self) -> None:
        """Compute again what no checkpoint holds, after the module was built without memory."""
        if self.transformer is not None:
            restore_positions(self.transformer.embeddings)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode a batch; ``attention_mask`` is 1 at tokens and 0 at padding."""
        if self.table is not None:
            vectors: Tensor = self.table(input_ids)
            return vectors
        assert self.transformer is not None
        output = self.transformer(input_ids=input_ids, attention_mask=attention_mask)
        states: Tensor = output.last_hidden_state
        return states


class Connector(nn.Module):
    """Linear-ReLU-Linear (or nothing), then ``added_tokens`` vectors after each text.

    The reference implementation puts the added tokens after the padding of the batch, which makes the vector
    of a text depend on its neighbours. Here they follow the text itself: ``placement="text"``, at the next
    multiple of ``position_multiple``, which is where the reference puts them for that text alone.
    ``placement="batch"`` reproduces the reference for a padded batch.
    """

    def __init__(self, config: ConnectorConfig, inner: int, outer: int) -> None:
        super().__init__()
        self.ff: nn.Sequential | None = None
        if config.kind == "ff":
            hidden = config.hidden or inner
            self.ff = nn.Sequential(nn.Linear(inner, hidden), nn.ReLU(), nn.Linear(hidden, outer))
        self.added_tokens: nn.Parameter | None = None
        if config.added_tokens:
            self.added_tokens = nn.Parameter(torch.randn(config.added_tokens, outer))
        self._multiple = config.position_multiple

    def forward(
        self, states: Tensor, attention_mask: Tensor, placement: Placement = "text"
    ) -> tuple[Tensor, Tensor]:
        """Carry a batch over.

        Args:
            states: ``(batch, length, inner)``.
            attention_mask: ``(batch, length)``, ones first.
            placement: where the added tokens go.

        Returns:
            Language-model inputs ``(batch, longer, outer)`` and their mask.
        """
        if self.ff is not None:
            states = self.ff(states)
        if self.added_tokens is None:
            return states, attention_mask
        batch, length, width = states.shape
        count = len(self.added_tokens)
        if placement == "batch":
            starts = attention_mask.new_full((batch,), length)
        else:
            lengths = attention_mask.sum(dim=1)
            starts = -(-lengths // self._multiple) * self._multiple
        longer = max(length, int(starts.max()) + count)
        rows = torch.arange(batch, device=states.device)[:, None]
        places = starts[:, None] + torch.arange(count, device=states.device)
        extended = torch.cat([states, states.new_zeros(batch, longer - length, width)], dim=1)
        extended = extended.index_put((rows, places), self.added_tokens.to(states.dtype))
        mask = torch.cat([attention_mask, attention_mask.new_zeros(batch, longer - length)], dim=1)
        one = torch.ones((), dtype=mask.dtype, device=mask.device)
        return extended, mask.index_put((rows, places), one)


class LanguageModel(nn.Module):
    """Input vectors ``(batch, length, dimensions)`` to states of the same shape, after the final norm.

    A Mistral's attention has no sliding window, even where the configuration names one, since LUSIFER was
    trained so. A BERT adds its positions to what it reads. Token embeddings and output head, which an
    embedding model never uses, are not built; ``TokenHead`` holds them where they are needed.
    """

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.transformer: MistralModel | BertModel | None = None
        self.norm: nn.RMSNorm | None = None
        if config.kind == "bert":
            self.transformer = BertModel(BertConfig(**config.transformer), add_pooling_layer=False)
            del self.transformer.embeddings.word_embeddings
        elif config.layers:
            settings = MistralConfig(**{**config.transformer, "sliding_window": None, "use_cache": False})
            self.transformer = MistralModel(settings)
            del self.transformer.embed_tokens
        elif config.final_norm:
            self.norm = nn.RMSNorm(config.dimensions, eps=_EPSILON)

    def restore_buffers(self) -> None:
        """Compute again what no checkpoint holds, after the module was built without memory."""
        if isinstance(self.transformer, BertModel):
            restore_positions(self.transformer.embeddings)
        elif self.transformer is not None:
            rotary = self.transformer.rotary_emb
            self.transformer.rotary_emb = type(rotary)(self.transformer.config)

    def forward(self, inputs: Tensor, attention_mask: Tensor, *, causal: bool = False) -> Tensor:
        """Run a batch; positions count from 0 in every row, masked ones included.

        Args:
            inputs: ``(batch, length, dimensions)``.
            attention_mask: ``(batch, length)``, 1 where a position may be looked at.
            causal: whether a position sees only itself and those before it. Embeddings are always made
                without; alignment has a variant with.

        Raises:
            ConfigError: a BERT was asked to be causal.
        """
        if self.transformer is None:
            return inputs if self.norm is None else self.norm(inputs)
        if isinstance(self.transformer, BertModel):
            if causal:
                raise ConfigError("a BERT has no causal form", hint="align with causal = false")
            read: Tensor = self.transformer(
                inputs_embeds=inputs, attention_mask=attention_mask
            ).last_hidden_state
            return read
        output = self.transformer(
            inputs_embeds=inputs,
            attention_mask=additive_mask(attention_mask, _computed_in(inputs), causal=causal),
            use_cache=False,
        )
        states: Tensor = output.last_hidden_state
        return states


def additive_mask(attention_mask: Tensor, dtype: torch.dtype, *, causal: bool = False) -> Tensor:
    """Return the additive mask ``(batch, 1, length, length)``: 0 where a query sees a key, else the minimum.

    A mask of four dimensions is taken by transformers as it is, so no triangle is added to it. A query that
    sees no key at all weighs every key alike, as in the authors' code, and never gives NaN.
    """
    batch, length = attention_mask.shape
    blocked = (attention_mask == 0)[:, None, None, :]
    if causal:
        blocked = blocked | torch.ones(length, length, dtype=torch.bool, device=blocked.device).triu(1)
    mask = torch.zeros(blocked.shape, dtype=dtype, device=blocked.device)
    return mask.masked_fill_(blocked, torch.finfo(dtype).min).expand(batch, 1, length, length)


def _computed_in(inputs: Tensor) -> torch.dtype:
    """Return the type attention runs in: autocast's where it is on, whose range must hold the mask."""
    kind = inputs.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype


class TokenHead(nn.Module):
    """A language model's token embeddings and output head: what alignment reads and predicts tokens with."""

    def __init__(self, vocabulary: int, dimensions: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dimensions)
        self.output = nn.Linear(dimensions, vocabulary, bias=False)


def restore_positions(embeddings: nn.Module) -> None:
    """Compute again the buffers of a BERT-like embedding layer that was built without memory."""
    table = embeddings.get_submodule("position_embeddings")
    assert isinstance(table, nn.Embedding)
    positions = torch.arange(table.num_embeddings).expand((1, -1))
    embeddings.register_buffer("position_ids", positions, persistent=False)
    types = torch.zeros((1, table.num_embeddings), dtype=torch.long)
    embeddings.register_buffer("token_type_ids", types, persistent=False)


def damp_repeats(input_ids: Tensor, mask: Tensor, power: float) -> Tensor:
    """Weigh positions so that a token met n times in its text counts n**power times in all.

    Args:
        input_ids: ``(batch, length)``.
        mask: ``(batch, length)``, 1 at tokens.
        power: 0 to 1.

    Returns:
        float32, ``(batch, length)``, 0 where the mask is.
    """
    same = (input_ids[:, :, None] == input_ids[:, None, :]) & mask[:, None, :].bool()
    return mask.float() * same.sum(dim=2).clamp_min(1).float() ** (power - 1)


def pool(states: Tensor, mask: Tensor, method: Pooling) -> Tensor:
    """Pool over the unmasked positions, in float32.

    Args:
        states: ``(batch, length, dimensions)``.
        mask: ``(batch, length)``, 1 where a position counts; there may be gaps. For ``mean``, any weights.
        method: ``mean``; ``weightedmean``, each position weighted by its rank among those that count;
            ``lasttoken``, the last that counts; ``cls``, position 0.

    Returns:
        ``(batch, dimensions)``.
    """
    if method == "cls":
        return states[:, 0].float()
    if method == "lasttoken":
        places = torch.arange(mask.shape[1], device=mask.device)
        last = (mask * places).argmax(dim=1)
        return states[torch.arange(len(states), device=states.device), last].float()
    weights = mask.float()
    if method == "weightedmean":
        weights = weights * weights.cumsum(dim=1)
    summed = torch.bmm(weights[:, None, :], states.float())[:, 0]
    return summed / weights.sum(dim=1, keepdim=True).clamp_min(1e-6)


@dataclass(frozen=True, slots=True)
class Output:
    """Everything a forward pass makes, ``(batch, ...)``.

    Attributes:
        encoder_states: ``(batch, length, encoder dimensions)``.
        inputs: what the language model reads, added tokens included, ``(batch, longer, dimensions)``.
        mask: which of those positions count, ``(batch, longer)``.
        states: the language model's output, shaped as ``inputs``.
        pooled: ``(batch, dimensions)``; what the authors' code returned until March 2025.
        reps: after the output projection (the same as ``pooled`` for models without one); not normalised.
            Which of the two the paper's numbers were made with is unknown.
    """

    encoder_states: Tensor
    inputs: Tensor
    mask: Tensor
    states: Tensor
    pooled: Tensor
    reps: Tensor


class Lusifer(nn.Module):
    """The model a :class:`~lusifer.config.ModelConfig` describes, freshly initialised."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.dimensions
        self.encoder = UniversalEncoder(config.encoder)
        self.connector = Connector(config.connector, config.encoder.dimensions, width)
        self.language_model = LanguageModel(config.language_model)
        self.projection: nn.Sequential | None = None
        if config.projection:
            self.projection = build_projection(width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, placement: Placement = "text") -> Output:
        """Embed a batch.

        Args:
            input_ids: ``(batch, length)``, filled up on the right with the encoder's ``pad_id``.
            attention_mask: ``(batch, length)``, 1 at tokens.
            placement: where added tokens go; see ``Connector``.
        """
        encoded = self.encoder(input_ids, attention_mask)
        inputs, mask = self.connector(encoded, attention_mask, placement)
        states = self.language_model(inputs, mask)
        power = self.config.repeats
        weights = mask if power == 1 else damp_repeats(input_ids, attention_mask, power)
        pooled = pool(states, weights, self.config.pooling)
        reps = pooled
        if self.projection is not None:
            kind = next(self.projection.parameters()).dtype
            reps = self.projection(pooled.to(kind)).float()
        return Output(encoded, inputs, mask, states, pooled, reps)


def build_projection(width: int) -> nn.Sequential:
    """Return a new output projection: Linear-ReLU-Linear, all of one width."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


@torch.no_grad()
def fold(model: Lusifer) -> Tensor:
    """Return the table that a per-token model amounts to, float32 ``(vocabulary, dimensions)``.

    The normalised sum of a text's rows, repeated ones weighed as ``config.repeats`` says, is then the
    normalised output of the model.

    Raises:
        ConfigError: the model's tokens depend on each other, so there is no such table.
    """
    if not model.config.per_token or model.encoder.table is None:
        raise ConfigError(
            f"{model.config.name} cannot be folded into a table",
            hint="only a token table with zero layers, mean pooling and no projection can",
        )
    rows = model.encoder.table.weight[:, None, :]
    mask = torch.ones(rows.shape[:2], dtype=torch.long, device=rows.device)
    inputs, mask = model.connector(rows, mask)
    table: Tensor = model.language_model(inputs, mask)
    return table[:, 0].float()
