from .clips import write_clips as write_clips
from .library import Library as Library
from .library import read_library as read_library
from .render import render_clip as render_clip
from .render import render_frame as render_frame
from .scene import Scene as Scene
from .scene_config import SceneConfig as SceneConfig
from .staging import make_scene as make_scene
