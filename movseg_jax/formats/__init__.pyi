from .conversion import read_tracks as read_tracks
from .conversion import write_tracks as write_tracks
