"""Language models that read text alone: what they share, whatever the family."""

from __future__ import annotations

from torch import Tensor, nn

from core.models.backbone import Batch, Part
from core.models.chat_backbone import ChatBackbone


class TextBackbone(ChatBackbone):
    """A language model that reads text alone; a subclass names its classes, its dialect and its twin."""

    def part(self, name: Part) -> list[nn.Parameter]:
        """All parameters are ``language``."""
        return list(self.model.parameters()) if name == "language" else []

    def forward(self, batch: Batch) -> Tensor:
        """See :meth:`Backbone.forward`."""
        # No mask: rows are padded on the right, and the model builds its own causal mask where its attention needs one.
        hidden: Tensor = self.model(input_ids=batch.ids, use_cache=False).last_hidden_state
        return hidden
