"""Thumbnails of product photos."""

from thumbs.cache import LRUCache
from thumbs.gallery import Gallery

__all__ = ["Gallery", "LRUCache"]
