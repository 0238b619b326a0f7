"""Captions as vectors."""

from torch import Tensor, nn

from darkroom.numbers import Count, Supplied


class CaptionEncoder(nn.Module):
    """Read a caption word by word and keep what was read in one vector (GRU: Cho et al. 2014).

    Token 0 fills up short captions and changes nothing. An empty caption is the vector of zeros.

        encode = CaptionEncoder(words=25, dim=128)
        vectors = encode(torch.tensor([[1, 7, 3], [1, 4, 0]]))   # (2, 128)
    """

    def __init__(self, words: Supplied[int], dim: Count = 128, word_dim: Count = 64) -> None:
        """State how many words there are, and how long the vectors of captions and of words are."""
        super().__init__()
        self.dim = dim
        self.words = nn.Embedding(words + 1, word_dim, padding_idx=0)
        self.reader = nn.GRU(word_dim, dim, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the vectors ``(B, dim)``, in (-1, 1), of captions ``(B, L)`` int64."""
        states, _ = self.reader(self.words(tokens))
        # What follows the last word is read too, but not looked at.
        lengths = (tokens > 0).sum(dim=1)
        last = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, self.dim)
        read: Tensor = states.gather(1, last).squeeze(1) * (lengths > 0)[:, None]
        return read
