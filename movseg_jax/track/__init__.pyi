from .joining import join_tracks as join_tracks
from .linking import Linker as Linker
from .linking import link as link
from .links import Links as Links
from .links import TrackedFrames as TrackedFrames
from .links import to_tracked_frame as to_tracked_frame
from .moving import drop_resting as drop_resting
from .objects import find_objects as find_objects
