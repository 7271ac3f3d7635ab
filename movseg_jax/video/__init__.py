"""Videos in and out, one frame at a time: files, folders of frames, cameras."""
