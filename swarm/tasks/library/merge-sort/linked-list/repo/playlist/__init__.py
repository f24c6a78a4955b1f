"""Playlists that can be changed while they play."""

from playlist.playlist import Playlist, Track

__all__ = ["Playlist", "Track"]
