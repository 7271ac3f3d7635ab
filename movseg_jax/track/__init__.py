"""From detections to tracks: which detections of a video show the same thing.

Tracking has four steps, each a pure function of what the one before found:

1. `objects`: of the detections in one frame, which are duplicates or parts of others;
2. `linking`: objects of successive frames with overlapping masks become a track,
   forwards and then backwards (Dave et al., 2019, section 3.4);
3. `moving`: tracks that are not seen to move are left out;
4. `joining`: a track that comes out of another one and goes back into it was a part of
   it, and a thing that is lost and found again at the same place is one track.

`links` holds the result: for each detection the track that it belongs to. A track may
have several detections in a frame; their union is its mask there.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
