from .api import segment_video as segment_video
from .detecting import detect_frames as detect_frames
from .run import segment_to_folder as segment_to_folder
from .settings import SegmentConfig as SegmentConfig
from .tracks import Tracks as Tracks
